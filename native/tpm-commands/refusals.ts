/** Every way in which a TPM that answers can still not give the evidence that the agent needs. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const tpmAnswerRefusals = defineRefusals('environment', {
  'tpm-response': {
    means: 'The TPM refused a command.',
    hint: 'Look up the named response code in TPM 2.0 Part 2, section 6.6, or run tpm2_rc_decode with its number.',
  },
  'tpm-slots-full': {
    means: 'The TPM has no room for another key or session: other programs left theirs loaded.',
    hint: 'Use the resource manager (device:/dev/tpmrm0), or clear what was left: tpm2_flushcontext -t -l -s.',
  },
  'tpm-locked-out': {
    means: 'The TPM takes no password at present: too many wrong ones were tried.',
    hint: 'Wait for its recovery time (tpm2_getcap properties-variable), or unlock it: tpm2_dictionarylockout -c.',
  },
  'tpm-certificate-missing': {
    means: 'The TPM stores no endorsement key certificate that this release knows how to use.',
    hint: 'Some firmware TPMs publish it only on-line: fetch it from the vendor; others need a firmware update.',
  },
  'tpm-certificate-malformed': {
    means:
      'Behind the endorsement key certificate in the storage of the TPM stands something other than padding.',
    hint: 'Read it with tpm2_nvread and compare it with what the vendor issued for this TPM.',
  },
  'tpm-endorsement-key-other': {
    means: 'The endorsement key that the TPM makes is not the one in its certificate.',
    hint: 'The TPM was cleared to a new seed, or made its key from another template: ask the vendor for a new certificate.',
  },
  'tpm-bank-missing': {
    means: 'The TPM does not keep the wanted PCRs in the wanted bank.',
    hint: 'Switch the SHA-256 bank on in the firmware set-up, or with tpm2_pcrallocate sha256:all, and restart.',
  },
});

export const tpmStateRefusals = defineRefusals('unavailable', {
  'tpm-was-reset': {
    means: 'The TPM was reset or suspended in the middle of the work, and what was loaded in it is gone.',
    hint: 'Start the agent again. Where the machine was not restarted, somebody reset the TPM alone: look at the machine.',
  },
  'tpm-nv-rate': {
    means: 'The TPM limits how often its storage is written, and the limit is reached.',
    hint: 'Wait a minute and try again; find out which program writes so often.',
  },
  'tpm-retries-over': {
    means: 'The TPM asked again and again to send the same command later.',
    hint: 'It may test itself after a start, or be busy for others: try again in a minute.',
  },
  'tpm-pcrs-unstable': {
    means: 'The PCRs changed again and again while they were read and quoted.',
    hint: 'Wait until the machine has finished starting (measurements end with it), then start the agent again.',
  },
});

export const tpmSessionRefusals = defineRefusals('inauthentic', {
  'tpm-session-key': {
    means: 'The key that a session with the TPM was to be encrypted to is not the one that is known.',
    hint: 'Another TPM answers, or something between this program and the TPM put its own key there: look at the machine.',
  },
  'tpm-session-command': {
    means:
      'A command did not reach the TPM as it was sent, or the TPM is not the one that the session was made for.',
    hint: 'Something between this program and the TPM changes commands: look at the machine before you go on.',
  },
  'tpm-session-response': {
    means: 'A response is not what the TPM that the session was made for answered.',
    hint: 'Something between this program and the TPM changes responses: look at the machine before you go on.',
  },
});

export const tpmContentRefusals = defineRefusals('malformed', {
  'tpm-answer-malformed': {
    means: 'The TPM answered a command with something that is not its answer.',
    hint: 'Check that the address leads to a TPM 2.0; an interposer or a defective TPM may answer there.',
  },
});
