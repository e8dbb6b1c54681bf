/** How key custody says no. A refusal never carries a secret, and never says how far a guess was off. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

/** The file or blob is not what it should be, or was changed. */
export const keyIntegrityRefusals = defineRefusals('inauthentic', {
  'key-passphrase-wrong': {
    means: 'The passphrase does not open this file.',
    hint: 'Check the passphrase and its keyboard layout. There is no way to recover the keys without it.',
  },
  'key-file-damaged': {
    means: 'The passphrase is right, but a secret in the file was damaged or edited.',
    hint: 'Restore the file from a backup.',
  },
  'key-wrapped-damaged': {
    means: 'A wrapped model key does not open for this model, server and mode.',
    hint: 'The key store was damaged, or was copied from another server. Restore it from a backup.',
  },
});

/** The file may be right; here and now it cannot be used. */
export const keyUseRefusals = defineRefusals('environment', {
  'key-file-exposed': {
    means: 'A file with secrets can be read or written by others than its owner.',
    hint: 'Run `chmod 600` on it. If others had access to this machine, treat the keys as known to them.',
  },
  'key-store-failed': {
    means: 'The store of model keys cannot be used.',
    hint: 'Check free space, permissions, and that no other program has the file open.',
  },
});

export const keyUsageRefusals = defineRefusals('usage', {
  'key-passphrase-empty': {
    means: 'A key file would be protected by nothing.',
    hint: 'Give a passphrase.',
  },
  'keyring-other-server': {
    means: 'A keyring belongs to another server.',
    hint: 'Use the keyring that was made with this server home. A keyring cannot change its origin or mode.',
  },
  'key-file-custody-in-production': {
    means: 'A production server would keep the keys of models under a key in a file.',
    hint: 'Keys of real models need custody in hardware. File custody is for evaluation servers.',
  },
  'model-key-exists': {
    means: 'A key is stored for this model already, and is never replaced.',
    hint: 'Seal the model again: a new bundle has a new manifest and a new key.',
  },
  'model-key-unknown': {
    means: 'No key is stored for this model.',
    hint: 'Seal the model with this server, or restore the key store from a backup.',
  },
  'key-length-wrong': {
    means: 'A key has another length than its kind.',
    hint: 'Give the key as it was made: 32 bytes.',
  },
});
