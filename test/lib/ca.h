/* SPDX-License-Identifier: MIT
 *
 * ca.h: an authority of our own, the certificates it made well and badly, and what is to become of each.
 *
 *     const char *folder = ca_folder();       NAME.pem (the chain as it is sent), NAME.key; root.pem, crl.pem
 *     for (const struct ca_case *c = ca_cases; c->certificate; c++) ...
 *
 * Every certificate is made anew from one table, with dates relative to now: nothing expires in the source tree. The
 * cases are the one place that says who is accepted; the stories read them here, the scripts from what the program
 * test_ca prints (ca_print). */
#ifndef TEST_LIB_CA_H
#define TEST_LIB_CA_H

/* A server that shows this certificate to a client that trusts root.pem and wants to talk to `host`. */
struct ca_case {
    const char *certificate;
    const char *host;
    const char *refused; /* words of the client's error; NULL: accepted */
};

extern const struct ca_case ca_cases[]; /* the last one has no certificate */

/* Why a program's own library will not even load such a certificate, so that only a peer that was told to be careless
 * shows it; NULL: it loads. */
const char *ca_unloadable(const char *certificate);

/* A client that shows this certificate (NULL: none) to a server that trusts root.pem. */
struct ca_client_case {
    const char *certificate;
    enum ca_demand { CA_REQUIRED, CA_OPTIONAL } demand;
    const char *refused; /* words of the server's error; NULL: accepted */
    const char *subject; /* whom the server sees: the common name; NULL: nobody */
};

extern const struct ca_client_case ca_client_cases[];
extern const int ca_client_cases_n;

/* Make every certificate in a folder of its own below $TMPDIR, once for each process; it goes when the process ends.
 * Ends the program, saying why, when that cannot be done. */
const char *ca_folder(void);

/* The path of a file of that folder; good until the eighth call after it. */
const char *ca_path(const char *name, const char *suffix);

/* The same into a folder that is there already, and stays. */
void ca_make(const char *folder);

/* Both tables, a line each, its fields apart by tabs; "-" for NULL. */
void ca_print(void);

#endif
