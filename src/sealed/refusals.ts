/** Why a sealed bundle is not made or not opened (docs/spec/sealed-weights.md, SW-21). */

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals, type RefusalError } from '../../attestation/core/refusal.ts';

const FETCH_AGAIN = 'Fetch this file again from a mirror, then run verify.';

export const sealedMalformed = defineRefusals('malformed', {
  'sealed-path': {
    means: 'A file has a name that a bundle cannot carry to every system unchanged.',
    hint: 'Rename the file; the allowed names stand in docs/spec/sealed-weights.md, section 1.',
  },
  'sealed-path-conflict': {
    means: 'Two files would have one name on some system, or a file would also be a folder.',
    hint: 'Rename one of the two.',
  },
  'sealed-limit': {
    means: 'A bundle claims more files or bytes than the format allows.',
    hint: 'Do not trust where this bundle came from; no model is this large.',
  },
  'sealed-manifest-inconsistent': {
    means: 'The members of a manifest contradict each other.',
    hint: 'The bundle was made by something else than this sealer; seal the model again.',
  },
  'sealed-file-missing': { means: 'A file of the bundle is not there.', hint: FETCH_AGAIN },
  'sealed-file-extra': {
    means: 'A bundle holds a file that its manifest does not name.',
    hint: 'Move the file elsewhere; a bundle holds nothing that is not signed.',
  },
  'sealed-file-kind': {
    means: 'A symbolic link or special file stands where only regular files may.',
    hint: 'Replace it by a copy of the file that it stands for.',
  },
  'sealed-file-size': {
    means: 'A file of the bundle is shorter or longer than it was sealed.',
    hint: FETCH_AGAIN,
  },
  'sealed-tags-length': {
    means: 'The file of tags is shorter or longer than its bundle needs.',
    hint: FETCH_AGAIN,
  },
});

export const sealedInauthentic = defineRefusals('inauthentic', {
  'sealed-manifest-digest': {
    means: 'The manifest is not the one that was asked for.',
    hint: 'This is another model or another sealing of it; fetch the bundle that the grant names.',
  },
  'sealed-tags-digest': { means: 'The file of tags is not the one that was signed.', hint: FETCH_AGAIN },
  'sealed-tags-disagree': {
    means: 'The header of the file of tags contradicts the signed manifest.',
    hint: 'The bundle was made by something else than this sealer; seal the model again.',
  },
  'sealed-file-digest': {
    means: 'The ciphertext of a file is not the one that was signed.',
    hint: FETCH_AGAIN,
  },
  'sealed-key-wrong': {
    means: 'The model key is not the one under which the bundle was sealed.',
    hint: 'Check that key and bundle are of the same sealing: each has its own commitment.',
  },
  'sealed-chunk-tag': { means: 'A chunk does not match its authentication tag.', hint: FETCH_AGAIN },
});

export const sealedUsage = defineRefusals('usage', {
  'sealed-trust-missing': {
    means: 'A bundle was to be opened without anything to trust it by.',
    hint: 'Give the keys that may sign manifests, or the digest of the manifest.',
  },
  'sealed-key-length': { means: 'A model key is not of 32 bytes.', hint: 'Use the key that sealing made.' },
  'sealed-file-unknown': {
    means: 'The bundle has no file of this path.',
    hint: 'The paths stand in the manifest; mind upper and lower case.',
  },
  'sealed-range': {
    means: 'A read lies outside of the file.',
    hint: 'Read within the size that the manifest states.',
  },
  'sealed-source-empty': {
    means: 'There is nothing to seal.',
    hint: 'Name the folder that holds the files of the model.',
  },
  'sealed-unfinished-other': {
    means: 'An unfinished sealing stands where the bundle should be written, and it is not one of this.',
    hint: 'Remove the folder .partial and the file .sealing beside the bundle, then seal anew.',
  },
  'sealed-output-inside-source': {
    means: 'The bundle would be written into the folder that is being sealed, or the other way round.',
    hint: 'Write the bundle beside the model.',
  },
});

export const sealedEnvironment = defineRefusals('environment', {
  'sealed-not-readable': {
    means: 'A file that should be read cannot be.',
    hint: 'Check that it is there, that this user may read it, and that the disk is sound.',
  },
  'sealed-not-written': {
    means: 'The bundle could not be written completely; nothing of it was left behind.',
    hint: 'Check free space and permissions of the target folder.',
  },
  'sealed-source-changed': {
    means: 'A file was changed since its sealing began.',
    hint: 'Seal when nothing writes to the model any more.',
  },
  'sealed-interrupted': {
    means: 'The work was stopped before its end; nothing was handed out.',
    hint: 'Start it again when you are ready.',
  },
  'sealed-unfinished-busy': {
    means: 'Another process is sealing the same bundle.',
    hint: 'Wait until it has ended, or write to another folder.',
  },
  'sealed-worker': {
    means: 'A worker thread ended before its work was done.',
    hint: 'Check that the machine has memory left, and try fewer threads.',
  },
});

/** SW-26. */
export function refuseSourceChanged(path: string, bytes: number): never {
  throw sealedEnvironment.error('sealed-source-changed', {
    field: excerpt(path),
    expected: `the file of ${bytes} bytes that was listed`,
    found: 'another size or another time of change',
  });
}

export function refuseNotWritten(path: string, cause: unknown): never {
  throw sealedEnvironment.error(
    'sealed-not-written',
    { field: excerpt(path), expected: 'the file written', found: systemErrorName(cause) },
    { cause },
  );
}

export function interrupted(): RefusalError {
  return sealedEnvironment.error('sealed-interrupted', {
    field: 'work',
    expected: 'to run to its end',
    found: 'a request to stop',
  });
}

/** The name that the system gives an error, for refusals. */
export function systemErrorName(error: unknown): string {
  const hasCode = typeof error === 'object' && error !== null && 'code' in error;
  return hasCode && typeof error.code === 'string' ? error.code : 'an error';
}
