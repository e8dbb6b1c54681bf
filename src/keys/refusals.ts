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
  'wrapping-key-unknown': {
    means: 'A wrapped model key names a wrapping key that its custody does not hold.',
    hint: 'The key store is older than the last retirement, or belongs to another custody. Restore both from one backup.',
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
  'custody-denied': {
    means: 'The custody of model keys does not let this server use its wrapping keys.',
    hint: 'Check the credential, and what it may do, where the wrapping keys are kept.',
  },
  'custody-failed': {
    means: 'The custody of model keys answered something that it should not, or could not do what was asked.',
    hint: 'Look at the named place and at its own log. No model key was lost: run the same command again.',
  },
});

/** It may work later. */
export const custodyReachRefusals = defineRefusals('unavailable', {
  'custody-unavailable': {
    means: 'The custody of model keys did not answer.',
    hint: 'Check that it runs, is unsealed, and can be reached from here; then try again.',
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
    hint: 'Choose custody by a TPM, a PKCS#11 token or Vault. File custody is for evaluation servers.',
  },
  'model-key-exists': {
    means: 'A key is stored for this model already, and is never replaced.',
    hint: 'Seal the model again: a new bundle has a new manifest and a new key.',
  },
  'model-key-unknown': {
    means: 'No key is stored for this model.',
    hint: 'Seal the model with this server, or restore the key store from a backup.',
  },
  'wrapping-key-in-use': {
    means: 'A wrapping key that stored model keys need would be forgotten.',
    hint: 'Run `weightgate custody rotate` to its end first, then retire.',
  },
  'custody-not-chosen': {
    means:
      'The home of a server does not say who holds its wrapping keys, or not as this release can use it.',
    hint: 'Restore custody.yaml. A new server chooses with `weightgate init --custody`.',
  },
  'custody-busy': {
    means: 'Another command is changing the custody of this home.',
    hint: 'Wait until it is done; a command that was killed holds nothing.',
  },
  'custody-unfinished': {
    means: 'Keys are still on their way from one wrapping key or custody to another.',
    hint: 'Run the command that was interrupted again: it goes on where it stopped.',
  },
  'custody-closed': {
    means: 'A custody of model keys was used after it was closed.',
    hint: 'Open the home again.',
  },
  'key-length-wrong': {
    means: 'A key has another length than its kind.',
    hint: 'Give the key as it was made: 32 bytes.',
  },
});
