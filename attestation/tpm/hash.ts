/** The hash algorithms that this verifier relies on, by their TPM identifier. SHA-1 and unknown ones are refused. */

import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import type { CHash } from '@noble/hashes/utils.js';

import { defineRefusals } from '../core/refusal.ts';
import type { HashName } from '../core/signature.ts';
import { Algorithm } from './layout.ts';

export const hashRefusals = defineRefusals('inauthentic', {
  'tpm-hash': {
    means: 'A TPM structure relies on a hash algorithm that is not accepted.',
    hint: 'Use SHA-256, SHA-384 or SHA-512; make the attestation key with such a scheme.',
  },
});

export interface TpmHash {
  /** TPM_ALG_ID. */
  readonly algorithm: number;
  readonly name: HashName;
  /** Name of the PCR bank. */
  readonly bank: 'sha256' | 'sha384' | 'sha512';
  readonly bytes: number;
  /** The hash function itself, as `@noble/hashes` defines it. */
  readonly digest: CHash;
}

const HASHES: readonly TpmHash[] = [
  { algorithm: Algorithm.sha256, name: 'SHA-256', bank: 'sha256', bytes: 32, digest: sha256 },
  { algorithm: Algorithm.sha384, name: 'SHA-384', bank: 'sha384', bytes: 48, digest: sha384 },
  { algorithm: Algorithm.sha512, name: 'SHA-512', bank: 'sha512', bytes: 64, digest: sha512 },
];

/** @throws RefusalError `tpm-hash` */
export function tpmHash(algorithm: number, field: string): TpmHash {
  const hash = HASHES.find((known) => known.algorithm === algorithm);
  if (hash !== undefined) return hash;
  throw hashRefusals.error('tpm-hash', {
    field,
    expected: HASHES.map(({ name }) => name).join(', '),
    found: `0x${algorithm.toString(16)}`,
  });
}
