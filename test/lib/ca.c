/* SPDX-License-Identifier: MIT
 *
 * ca.c: makes the certificates of ca.h with OpenSSL.
 *
 *     root --+-- good, expired, wildcard ... (nearly all of them)
 *            +-- inner ------- inner_leaf          an intermediate, as real ones have it
 *            +-- no_ca ------- by_no_ca            may not sign, and signed
 *            +-- ...
 *     unknown, impostor                            roots that nobody trusts; the second has root's name
 *
 * Each line of `specs` is one certificate. An issuer stands above what it signs. Keys are P-256 but where the key
 * is what the line is about, so that all of it takes some hundredths of a second. */
#include "ca.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the cases ---- */

#define HOST "host.test"

static const char mismatch[] = "hostname mismatch", no_issuer[] = "unable to get local issuer",
                  no_purpose[] = "unsuitable certificate purpose";

const struct ca_case ca_cases[] = {
    /* Accepted: what is as it should be. */
    {"good", HOST, NULL},
    {"good", "HOST.TEST", NULL},
    {"good", "second.test", NULL},
    {"inner_leaf", HOST, NULL},
    {"with_root", HOST, NULL},
    {"shuffled", HOST, NULL},
    {"no_usage_said", HOST, NULL},
    {"both_usages", HOST, NULL},
    {"p384", HOST, NULL},
    {"ed25519", HOST, NULL},
    {"rsa2048", HOST, NULL},
    {"wildcard", "a.host.test", NULL},
    {"wildcard", "xn--bcher-kva.host.test", NULL},
    {"idn", "xn--bcher-kva.test", NULL},
    {"ip", "127.0.0.1", NULL},
    {"ip", "::1", NULL},
    {"constrained_leaf", "host.inside.test", NULL},
    /* Refused: time. */
    {"expired", HOST, "certificate has expired"},
    {"not_yet", HOST, "certificate is not yet valid"},
    {"by_expired", HOST, "certificate has expired"},
    /* Refused: who signed it. */
    {"self_signed", HOST, "self-signed certificate"},
    {"by_unknown", HOST, no_issuer},
    {"with_unknown_root", HOST, "self-signed certificate in certificate chain"},
    {"by_impostor", HOST, "certificate signature failure"},
    {"damaged", HOST, "certificate signature failure"},
    {"anonymous", HOST, "Missing Authority Key Identifier"}, /* RFC 5280 asks for one */
    {"inner_missing", HOST, no_issuer},
    {"by_no_ca", HOST, "invalid CA certificate"},
    {"by_no_sign", HOST, "invalid CA certificate"},
    {"too_deep_leaf", HOST, "path length constraint exceeded"},
    {"constrained_out", HOST, "permitted subtree violation"},
    {"excluded", "host.excluded.test", "excluded subtree violation"},
    /* Refused: what it is for. */
    {"client_only", HOST, no_purpose},
    {"critical", HOST, "unhandled critical extension"},
    /* Refused: too weak. */
    {"rsa1024", HOST, "EE certificate key too weak"},
    {"by_rsa1024", HOST, "CA certificate key too weak"},
    {"sha1", HOST, "signature digest algorithm too weak"},
    {"by_sha1", HOST, "signature digest algorithm too weak"},
    /* Refused: its name. */
    {"good", "other.test", mismatch},
    {"good", "a.host.test", mismatch},
    {"good", "test", mismatch},
    {"good", "127.0.0.1", "IP address mismatch"},
    {"common_name_only", HOST, mismatch},
    {"common_name_besides", HOST, mismatch},
    {"nul_in_name", HOST, mismatch},
    {"nul_in_name", "evil.test", mismatch},
    {"wildcard", HOST, mismatch},
    {"wildcard", "a.b.host.test", mismatch},
    {"wildcard_partial", "fine.host.test", mismatch},
    {"wildcard_middle", "a.b.host.test", mismatch},
    {"wildcard_top", HOST, mismatch},
    {"wildcard_idn", "xn--bcher-kva.host.test", mismatch},
    {"dotted", HOST, mismatch},
    {"ip", "127.0.0.2", "IP address mismatch"},
    {"ip", HOST, mismatch},
    {"ip_as_name", "127.0.0.1", "IP address mismatch"},
    {NULL, NULL, NULL},
};

const struct ca_client_case ca_client_cases[] = {
    {"client", CA_REQUIRED, NULL, "client"},
    {"client", CA_OPTIONAL, NULL, "client"},
    {"client_inner", CA_REQUIRED, NULL, "client_inner"},
    {"both_usages", CA_REQUIRED, NULL, "both_usages"},
    {"no_usage_said", CA_REQUIRED, NULL, "no_usage_said"},
    {NULL, CA_OPTIONAL, NULL, NULL},
    {NULL, CA_REQUIRED, "peer did not return a certificate", NULL},
    {"client_expired", CA_REQUIRED, "certificate has expired", NULL},
    {"client_expired", CA_OPTIONAL, "certificate has expired", NULL},
    {"not_yet", CA_REQUIRED, "certificate is not yet valid", NULL},
    {"good", CA_REQUIRED, no_purpose, NULL}, /* for servers only */
    {"self_signed", CA_REQUIRED, "self-signed certificate", NULL},
    {"client_unknown", CA_REQUIRED, no_issuer, NULL},
    {"client_unknown", CA_OPTIONAL, no_issuer, NULL},
    {"by_impostor", CA_REQUIRED, "certificate signature failure", NULL},
    {"by_no_ca", CA_REQUIRED, "invalid CA certificate", NULL},
    {"damaged", CA_REQUIRED, "certificate signature failure", NULL},
};
const int ca_client_cases_n = sizeof ca_client_cases / sizeof *ca_client_cases;

/* ---- the certificates ---- */

enum key { P256, P384, ED25519, RSA2048, RSA1024 };

struct spec {
    const char *name; /* its files', and its common name unless `common_name` is another */
    const char *issuer;
    const char *names; /* subjectAltName, as OpenSSL's configuration has it; NULL: none */
    const char *basic, *usage, *purpose, *constraints;
    const char *chain; /* what is sent behind it, names apart by spaces */
    const char *common_name;
    const char *
        claims; /* whose key its authorityKeyIdentifier names, if not its issuer's; "-": it has none */
    enum key key;
    int from_days, to_days; /* 0: from yesterday, until in ten days */
    const char *digest;     /* NULL: SHA-256 */
    const char *unloadable; /* for ca_unloadable */
    enum { SOUND, DAMAGED, NUL_IN_NAME, CRITICAL } odd;
};

#define CA       .basic = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign"
#define SERVER   .purpose = "serverAuth"
#define CLIENT   .purpose = "clientAuth"
#define FOR_HOST .names = "DNS:" HOST, SERVER

static const struct spec specs[] = {
    {"root", "root", CA},
    {"unknown", "unknown", CA},
    {"impostor", "impostor", CA, .common_name = "root"},
    {"inner", "root", CA},
    {"old_inner", "root", CA, .from_days = -20, .to_days = -1},
    {"no_ca", "root", .basic = "critical,CA:FALSE",
     .usage = "critical,digitalSignature,keyCertSign"},
    {"no_sign", "root", .basic = "critical,CA:TRUE", .usage = "critical,digitalSignature"},
    {"short_inner", "root", .basic = "critical,CA:TRUE,pathlen:0", .usage = "critical,keyCertSign"},
    {"deep_inner", "short_inner", CA},
    {"constrained", "root", CA,
     .constraints = "critical,permitted;DNS:inside.test,permitted;DNS:excluded.test,"
                    "excluded;DNS:host.excluded.test"},
    {"weak_inner", "root", CA, .key = RSA1024},
    {"sha1_inner", "root", CA, .digest = "SHA1"},

    {"good", "root", .names = "DNS:" HOST ",DNS:second.test", SERVER},
    {"revoked", "root", FOR_HOST},
    {"inner_leaf", "inner", FOR_HOST, .chain = "inner"},
    {"inner_missing", "inner", FOR_HOST},
    {"with_root", "inner", FOR_HOST, .chain = "inner root"},
    {"shuffled", "inner", FOR_HOST, .chain = "root unknown inner"},
    {"no_usage_said", "root", .names = "DNS:" HOST},
    {"both_usages", "root", .names = "DNS:" HOST, .purpose = "serverAuth,clientAuth"},
    {"p384", "root", FOR_HOST, .key = P384},
    {"ed25519", "root", FOR_HOST, .key = ED25519},
    {"rsa2048", "root", FOR_HOST, .key = RSA2048},
    {"wildcard", "root", .names = "DNS:*.host.test", SERVER},
    {"wildcard_partial", "root", .names = "DNS:f*.host.test,DNS:*e.host.test", SERVER},
    {"wildcard_middle", "root", .names = "DNS:a.*.host.test", SERVER},
    {"wildcard_top", "root", .names = "DNS:*.test,DNS:*", SERVER},
    {"wildcard_idn", "root", .names = "DNS:xn--*.host.test", SERVER},
    {"idn", "root", .names = "DNS:xn--bcher-kva.test", SERVER},
    {"dotted", "root", .names = "DNS:host.test.", SERVER},
    {"ip", "root", .names = "IP:127.0.0.1,IP:::1", SERVER},
    {"ip_as_name", "root", .names = "DNS:127.0.0.1", .common_name = "127.0.0.1", SERVER},
    {"common_name_only", "root", .common_name = HOST, SERVER},
    {"common_name_besides", "root", .common_name = HOST, .names = "DNS:other.test", SERVER},
    {"nul_in_name", "root", .odd = NUL_IN_NAME, SERVER},

    {"expired", "root", FOR_HOST, .from_days = -20, .to_days = -1},
    {"not_yet", "root", .names = "DNS:" HOST, .from_days = 1, .to_days = 20},
    {"by_expired", "old_inner", FOR_HOST, .chain = "old_inner"},
    {"self_signed", "self_signed", .names = "DNS:" HOST},
    {"by_unknown", "unknown", FOR_HOST},
    {"with_unknown_root", "unknown", FOR_HOST, .chain = "unknown"},
    {"by_impostor", "impostor", .names = "DNS:" HOST, .claims = "root"},
    {"anonymous", "root", FOR_HOST, .claims = "-"},
    {"damaged", "root", .names = "DNS:" HOST, .odd = DAMAGED},
    {"by_no_ca", "no_ca", .names = "DNS:" HOST, .chain = "no_ca"},
    {"by_no_sign", "no_sign", FOR_HOST, .chain = "no_sign"},
    {"too_deep_leaf", "deep_inner", FOR_HOST, .chain = "deep_inner short_inner"},
    {"constrained_leaf", "constrained", .names = "DNS:host.inside.test", SERVER,
     .chain = "constrained"},
    {"constrained_out", "constrained", FOR_HOST, .chain = "constrained"},
    {"excluded", "constrained", .names = "DNS:host.excluded.test", SERVER, .chain = "constrained"},
    {"client_only", "root", .names = "DNS:" HOST, CLIENT},
    {"critical", "root", FOR_HOST, .odd = CRITICAL},
    {"rsa1024", "root", FOR_HOST, .key = RSA1024, .unloadable = "ee key too small"},
    {"by_rsa1024", "weak_inner", FOR_HOST, .chain = "weak_inner", .unloadable = "ca key too small"},
    {"sha1", "root", FOR_HOST, .digest = "SHA1", .unloadable = "md too weak"},
    {"by_sha1", "sha1_inner", FOR_HOST, .chain = "sha1_inner", .unloadable = "md too weak"},

    {"client", "root", CLIENT},
    {"client_inner", "inner", CLIENT, .chain = "inner"},
    {"client_expired", "root", CLIENT, .from_days = -20, .to_days = -1},
    {"client_unknown", "unknown", CLIENT},
};
enum { SPECS = sizeof specs / sizeof *specs };

struct made {
    X509 *certificate;
    EVP_PKEY *key;
};

__attribute__((noreturn)) static void give_up(const char *what, const char *name)
{
    fprintf(stderr, "ca: %s %s: ", what, name);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static EVP_PKEY *make_key(enum key kind)
{
    switch (kind) {
    case P384: return EVP_EC_gen("P-384");
    case ED25519: return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case RSA2048: return EVP_RSA_gen(2048);
    case RSA1024: return EVP_RSA_gen(1024);
    default: return EVP_EC_gen("P-256");
    }
}

static size_t index_of(const char *name)
{
    for (size_t i = 0; i < SPECS; i++)
        if (strcmp(specs[i].name, name) == 0)
            return i;
    give_up("there is no certificate", name);
}

const char *ca_unloadable(const char *certificate)
{
    return specs[index_of(certificate)].unloadable;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    if (!value)
        return true;
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok;
}

/* "host.test", a NUL, ".evil.test": who reads it as C's strings takes it for host.test. */
static bool add_name_with_nul(X509 *cert)
{
    static const char name[] = HOST "\0.evil.test";
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *one = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool ok = ASN1_STRING_set(text, name, sizeof name - 1);
    GENERAL_NAME_set0_value(one, GEN_DNS, text);
    ok = ok && sk_GENERAL_NAME_push(names, one) &&
         X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0);
    GENERAL_NAMES_free(names);
    return ok;
}

/* An extension that nobody knows and that must not be passed over. */
static bool add_critical_extension(X509 *cert)
{
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.4.1.55555.1", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    bool ok = ASN1_OCTET_STRING_set(value, (const unsigned char *)"\x05", 2);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, id, 1, value);
    ok = ok && extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(id);
    return ok;
}

static bool damage(X509 *cert)
{
    const ASN1_BIT_STRING *signature;
    X509_get0_signature(&signature, NULL, cert);
    ASN1_STRING_get0_data(signature); /* the last byte is of the number s, whatever it is */
    ((unsigned char *)(uintptr_t)ASN1_STRING_get0_data(
        signature))[ASN1_STRING_length(signature) - 1] ^= 1;
    return true;
}

/* By which keys are told apart that have one name: strict checks want both. */
static bool add_key_identifiers(const struct spec *s, X509 *cert, X509 *issuer, X509 *claimed)
{
    bool ok = add_extension(cert, issuer, NID_subject_key_identifier, "hash");
    if (issuer == cert || (s->claims && strcmp(s->claims, "-") == 0))
        return ok;
    return ok && add_extension(cert, claimed, NID_authority_key_identifier, "keyid:always");
}

static X509 *make_certificate(const struct spec *s, long serial, EVP_PKEY *key, X509 *issuer,
                              EVP_PKEY *issuers_key, X509 *claimed)
{
    X509 *cert = X509_new();
    const char *common = s->common_name ? s->common_name : s->name;
    X509_NAME *subject = X509_NAME_new();
    bool ok = cert && subject && X509_set_version(cert, X509_VERSION_3) &&
              ASN1_INTEGER_set(X509_get_serialNumber(cert), serial) &&
              X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC,
                                         (const unsigned char *)"coil's tests", -1, -1, 0) &&
              X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common,
                                         -1, -1, 0) &&
              X509_set_subject_name(cert, subject);
    if (!issuer)
        issuer = cert;
    ok = ok && X509_set_issuer_name(cert, X509_get_subject_name(issuer)) &&
         X509_set_pubkey(cert, key) &&
         X509_time_adj_ex(X509_getm_notBefore(cert), s->from_days ? s->from_days : -1, 0, NULL) &&
         X509_time_adj_ex(X509_getm_notAfter(cert), s->to_days ? s->to_days : 10, 0, NULL) &&
         add_key_identifiers(s, cert, issuer, claimed ? claimed : issuer) &&
         add_extension(cert, issuer, NID_basic_constraints, s->basic) &&
         add_extension(cert, issuer, NID_key_usage, s->usage) &&
         add_extension(cert, issuer, NID_ext_key_usage, s->purpose) &&
         add_extension(cert, issuer, NID_name_constraints, s->constraints) &&
         add_extension(cert, issuer, NID_subject_alt_name, s->names);
    if (s->odd == NUL_IN_NAME)
        ok = ok && add_name_with_nul(cert);
    if (s->odd == CRITICAL)
        ok = ok && add_critical_extension(cert);
    const EVP_MD *digest = EVP_get_digestbyname(s->digest ? s->digest : "SHA256");
    if (EVP_PKEY_get_base_id(issuers_key) == EVP_PKEY_ED25519)
        digest = NULL; /* it has its own */
    ok = ok && X509_sign(cert, issuers_key, digest);
    if (s->odd == DAMAGED)
        ok = ok && damage(cert);
    X509_NAME_free(subject);
    if (!ok)
        give_up("cannot make", s->name);
    return cert;
}

static FILE *create(const char *folder, const char *name, const char *suffix)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    FILE *f = fopen(path, "we");
    if (!f)
        give_up("cannot write", path);
    return f;
}

static void write_files(const char *folder, const struct spec *s, const struct made *all)
{
    const struct made *own = &all[s - specs];
    FILE *f = create(folder, s->name, ".key");
    bool ok = PEM_write_PrivateKey(f, own->key, NULL, NULL, 0, NULL, NULL);
    ok &= fclose(f) == 0;
    f = create(folder, s->name, ".pem");
    ok &= PEM_write_X509(f, own->certificate);
    char chain[64] = "", *rest = chain;
    snprintf(chain, sizeof chain, "%s", s->chain ? s->chain : "");
    for (char *word; (word = strsep(&rest, " ")) && *word;)
        ok &= PEM_write_X509(f, all[index_of(word)].certificate);
    ok &= fclose(f) == 0;
    if (!ok)
        give_up("cannot write", s->name);
}

/* What root takes back: `revoked`. */
static void write_revocations(const char *folder, const struct made *all)
{
    const struct made *root = &all[index_of("root")];
    X509_CRL *list = X509_CRL_new();
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *later = X509_gmtime_adj(NULL, 86400 * 9);
    bool ok = list && entry && now && later && X509_CRL_set_version(list, X509_CRL_VERSION_2) &&
              X509_CRL_set_issuer_name(list, X509_get_subject_name(root->certificate)) &&
              X509_CRL_set1_lastUpdate(list, now) && X509_CRL_set1_nextUpdate(list, later) &&
              X509_REVOKED_set_serialNumber(
                  entry, X509_get_serialNumber(all[index_of("revoked")].certificate)) &&
              X509_REVOKED_set_revocationDate(entry, now) && X509_CRL_add0_revoked(list, entry) &&
              X509_CRL_sign(list, root->key, EVP_sha256());
    FILE *f = create(folder, "crl", ".pem");
    ok = ok && PEM_write_X509_CRL(f, list);
    ok &= fclose(f) == 0;
    X509_CRL_free(list); /* the entry is the list's */
    ASN1_TIME_free(now);
    ASN1_TIME_free(later);
    if (!ok)
        give_up("cannot write", "crl.pem");
}

void ca_make(const char *folder)
{
    static struct made all[SPECS];
    for (size_t i = 0; i < SPECS; i++) {
        const struct spec *s = &specs[i];
        if (!(all[i].key = make_key(s->key)))
            give_up("no key for", s->name);
        size_t issuer = index_of(s->issuer);
        bool claims = s->claims && strcmp(s->claims, "-") != 0;
        all[i].certificate = make_certificate(
            s, (long)i + 1, all[i].key, issuer == i ? NULL : all[issuer].certificate,
            all[issuer].key, claims ? all[index_of(s->claims)].certificate : NULL);
    }
    for (size_t i = 0; i < SPECS; i++)
        write_files(folder, &specs[i], all);
    write_revocations(folder, all);
    for (size_t i = 0; i < SPECS; i++) {
        X509_free(all[i].certificate);
        EVP_PKEY_free(all[i].key);
    }
}

/* ---- a folder for one process ---- */

static char own_folder[256];

static void remove_folder(void)
{
    DIR *dir = opendir(own_folder);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir));)
        unlinkat(dirfd(dir), e->d_name, 0); /* not the two with dots: they are no files */
    closedir(dir);
    rmdir(own_folder);
}

const char *ca_folder(void)
{
    if (own_folder[0])
        return own_folder;
    const char *tmp = getenv("TMPDIR");
    snprintf(own_folder, sizeof own_folder, "%s/coil-ca-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(own_folder)) {
        own_folder[0] = '\0';
        give_up("cannot make a folder in", tmp ? tmp : "/tmp");
    }
    atexit(remove_folder);
    ca_make(own_folder);
    return own_folder;
}

const char *ca_path(const char *name, const char *suffix)
{
    static char paths[8][384];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s%s", ca_folder(), name, suffix);
    return path;
}

/* ---- the tables as text ---- */

static const char *or_dash(const char *text)
{
    return text ? text : "-";
}

void ca_print(void)
{
    for (const struct ca_case *c = ca_cases; c->certificate; c++)
        printf("server\t%s\t%s\t%s\t%s\n", c->certificate, c->host, or_dash(c->refused),
               or_dash(ca_unloadable(c->certificate)));
    for (const struct ca_client_case *c = ca_client_cases; c < ca_client_cases + ca_client_cases_n;
         c++)
        printf("client\t%s\t%s\t%s\t%s\n", or_dash(c->certificate),
               c->demand == CA_REQUIRED ? "required" : "optional", or_dash(c->refused),
               or_dash(c->subject));
}
