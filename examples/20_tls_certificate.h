/* SPDX-License-Identifier: MIT
 *
 * 20_tls_certificate.h: a certificate for localhost, good until 2126, and its key. Everybody has this key: it is for 20_tls.c
 * alone. Made with `openssl ca -selfsign`. */
static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBijCCAS+gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv\n"
    "c3QwIBcNMDAwMTAxMDAwMDAwWhgPMjEyNjAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM\n"
    "CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHqeCWyrUxzO6h2w\n"
    "H8Psyd+h0dOfadUS5ecPx6iSkJeNtvQiZzg6ZVjgw0sx1W15ViP52usyhci7wmjl\n"
    "BmQ/g5ejcDBuMB0GA1UdDgQWBBSAhGfYQDwS5RUMQnVnVrFKgXLqBTAaBgNVHREE\n"
    "EzARgglsb2NhbGhvc3SHBH8AAAEwDAYDVR0TAQH/BAIwADAOBgNVHQ8BAf8EBAMC\n"
    "B4AwEwYDVR0lBAwwCgYIKwYBBQUHAwEwCgYIKoZIzj0EAwIDSQAwRgIhAOWhK7sz\n"
    "tZmoASdhs/awQejf0jmo2tVEbbc0MlKAXYnEAiEAk2VPsm+GDa5DudkXoyoPcCl/\n"
    "18u4hZtClhJnSWeI40E=\n"
    "-----END CERTIFICATE-----\n";
static const char key[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgoaLB45+MmLjOs3WC\n"
                          "x/RO+bHUPE9VIUZIpBuwROSF+ZWhRANCAAR6nglsq1MczuodsB/D7MnfodHTn2nV\n"
                          "EuXnD8eokpCXjbb0Imc4OmVY4MNLMdVteVYj+drrMoXIu8Jo5QZkP4OX\n"
                          "-----END PRIVATE KEY-----\n";
