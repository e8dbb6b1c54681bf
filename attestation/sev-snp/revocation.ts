/**
 * Revocation in AMD's hierarchy: the ARK signs one list for each product line, which names ASK and ASVK by serial
 * number. VCEKs and VLEKs all have the serial number 0 and are never on a list: they are superseded by minimum TCBs.
 */

import { toHex } from '../core/bytes.ts';
import { readCertificateList, verifyCertificateList } from '../core/certificate-list.ts';
import { remembered } from '../core/certificate-memory.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticChain, ChainInputs } from './chain.ts';
import { collateralNames } from './chain.ts';

export const revocationChecks = defineChecks('inauthentic', {
  'snp-revocation-list': {
    means: 'The revocation list of the product line is not AMD’s, or not in force.',
    hint: 'Fetch the current list of the product line from AMD’s key server.',
    protects: 'A list without the revocation, of another root or from the past, could be put in place.',
  },
  'snp-authority-revoked': {
    means: 'AMD has revoked an authority of the chain.',
    hint: 'Get a new certificate of the chip, or of the provider, under the current authority.',
    protects: 'Whoever holds a revoked authority’s key could certify keys of his own.',
  },
});

/** What the verifier knows of revocations; undefined when it was given no list. */
export interface RevocationStatus {
  readonly number: number;
  /** POSIX seconds. */
  readonly thisUpdate: number;
}

/**
 * Judges the chain by the list in the collateral, if there is one. Whether a missing or old one will do is the policy's
 * affair; one that is given must hold.
 *
 * @throws RefusalError `crl-*`, `snp-authority-revoked`, `der-*`
 */
export async function judgeRevocation(
  { key, intermediate, ark }: AuthenticChain,
  { collateral, time, memory }: Pick<ChainInputs, 'collateral' | 'time' | 'memory'>,
  checks: Checklist,
): Promise<RevocationStatus | undefined> {
  const field = collateralNames.revocationList(key.line);
  const bytes = collateral.get(field);
  if (bytes === undefined) return undefined;
  const list = await checks.attempt(
    revocationChecks,
    'snp-revocation-list',
    { field, expected: `a list of ARK-${key.line} that is in force` },
    async () => {
      const read = remembered(memory, 'crl', bytes, (copy) => readCertificateList(copy, field));
      await verifyCertificateList(read, ark, time, field, memory);
      return read;
    },
  );
  const serials = [intermediate, ark].map(({ serialNumber }) => toHex(serialNumber));
  const revoked = serials.filter((serial) => list.revoked.has(serial));
  checks.demand(revocationChecks, 'snp-authority-revoked', revoked.length === 0, {
    field: 'chain',
    expected: 'authorities that are not on the list',
    found: revoked.length === 0 ? 'none of them is' : `serial number ${revoked.join(', ')} revoked`,
  });
  return { number: list.number, thisUpdate: list.thisUpdate };
}
