/** Why results may differ from what a manifest says of the cryptography alone. */

export const SHA1_REASON = 'SHA-1 is accepted nowhere; the manifest judges the cryptography alone';
