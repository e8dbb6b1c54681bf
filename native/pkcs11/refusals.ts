/** Every way in which a PKCS#11 library or its token can fail who uses it. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const pkcs11MachineRefusals = defineRefusals('environment', {
  'pkcs11-library-missing': {
    means: 'The PKCS#11 library cannot be loaded.',
    hint: 'Install the library of the token’s vendor, and give its absolute path.',
  },
  'pkcs11-library-other': {
    means: 'A library is not one of PKCS#11 version 2 or 3 for this platform.',
    hint: 'Use the 64-bit library for Linux of the token’s vendor; see docs/spec/key-custody.md, section 9.',
  },
  'pkcs11-token-missing': {
    means: 'No token of the given label and serial number is there, or it was not initialised.',
    hint: 'Insert the token; list what the library sees with pkcs11-tool --module LIBRARY -L.',
  },
  'pkcs11-token-ambiguous': {
    means: 'Several tokens have the given label.',
    hint: 'Give the serial number of the one that is meant.',
  },
  'pkcs11-mechanism-missing': {
    means: 'The token does not have the mechanism or the operation that custody needs.',
    hint: 'Custody needs AES-GCM with 256 bits, key generation and random numbers on the token, in its present mode.',
  },
  'pkcs11-pin-wrong': {
    means: 'The token refuses the PIN. It is not tried again.',
    hint: 'Correct the PIN before anything else: a token locks itself after a few wrong ones.',
  },
  'pkcs11-pin-locked': {
    means: 'The PIN of the token is locked, expired or was never set.',
    hint: 'The security officer of the token has to set it anew.',
  },
  'pkcs11-pin-last-try': {
    means: 'One wrong PIN more would lock the token, so none is tried.',
    hint: 'Log in once by hand with the right PIN (pkcs11-tool --login -T), then start again.',
  },
  'pkcs11-call-failed': {
    means: 'The library refused a call.',
    hint: 'The name of the error is that of the PKCS#11 specification; look into the log of the token’s vendor.',
  },
  'pkcs11-timeout': {
    means: 'A call into the library did not come back in time; nothing more is asked of it.',
    hint: 'Look at the token and its connection, then start this program again.',
  },
});

export const pkcs11StateRefusals = defineRefusals('unavailable', {
  'pkcs11-token-gone': {
    means: 'The token was taken out, was reset, or ended its sessions.',
    hint: 'Insert it again; the next use logs in again by itself.',
  },
  'pkcs11-busy': {
    means: 'The token or its library has no room for another session or operation.',
    hint: 'Try again; end other programs that use the token, or lower the number of sessions.',
  },
  'pkcs11-closed': {
    means: 'A token was used after it was closed.',
    hint: 'This is an error of the caller: open the token again.',
  },
});

export const pkcs11KeyRefusals = defineRefusals('unacceptable', {
  'pkcs11-key-attributes': {
    means: 'A wrapping key on the token can leave it, was not made on it, or may be used for something else.',
    hint: 'Do not use that key. Have custody make its own: remove the key, or give custody another label.',
  },
});

export const pkcs11ContentRefusals = defineRefusals('malformed', {
  'pkcs11-answer': {
    means: 'What the library gave is not what its specification promises.',
    hint: 'The library may have a quirk that custody does not know; see docs/spec/key-custody.md, section 9.',
  },
});

/** Not for people: who decrypts says what it was that did not open. */
export const pkcs11CiphertextRefusals = defineRefusals('inauthentic', {
  'pkcs11-ciphertext': {
    means: 'The token did not decrypt a ciphertext: it, its context or its key is another.',
    hint: 'Restore the key store from a backup.',
  },
});
