/** What a release policy can ask about an SEV-SNP guest: a part of its claims, in the words of the Cedar schema. */

import { z } from 'zod';

import type { DeviceClaims } from '../governance/entries.ts';

/** Members of the claims (attestation/sev-snp/claims.ts) that policies know; the others are for auditors. */
const claimsSchema = z.looseObject({
  productLine: z.string(),
  signingKey: z.string(),
  cspId: z.string().nullable(),
  vmpl: z.int(),
  measurement: z.string(),
  referenceValues: z.string(),
  guestPolicy: z.looseObject({ smtAllowed: z.boolean(), singleSocket: z.boolean() }),
  tcb: z.looseObject({ reported: z.looseObject({ snp: z.int() }) }),
  minimumTcbSets: z.array(z.string()),
});

export interface SevSnpFacts {
  readonly productLine: string;
  readonly signingKey: string;
  readonly provider?: string;
  readonly vmpl: number;
  readonly measurement: string;
  readonly referenceValues: string;
  readonly smtAllowed: boolean;
  readonly singleSocket: boolean;
  readonly reportedSnp: number;
  readonly minimumTcbSets: readonly string[];
}

/** @returns no member where there is no such guest; undefined for claims that no verifier of this release made */
export function sevSnpFactsOf(
  devices: readonly DeviceClaims[],
): { readonly sevSnp?: SevSnpFacts } | undefined {
  const device = devices.find((candidate) => candidate.class === 'sev-snp');
  if (device === undefined) return {};
  const read = claimsSchema.safeParse(device.claims);
  if (!read.success) return undefined;
  const { productLine, signingKey, cspId, vmpl, measurement, referenceValues, ...claims } = read.data;
  const { smtAllowed, singleSocket } = claims.guestPolicy;
  return {
    sevSnp: {
      ...{ productLine, signingKey, vmpl, measurement, referenceValues, smtAllowed, singleSocket },
      ...(cspId === null ? {} : { provider: cspId }),
      reportedSnp: claims.tcb.reported.snp,
      minimumTcbSets: claims.minimumTcbSets,
    },
  };
}
