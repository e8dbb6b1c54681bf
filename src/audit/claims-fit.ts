/**
 * Whether a reference document fits the state that logged claims tell. Claims hold what a device reported, so that this
 * much can be said without its evidence; whether the evidence was genuine they do not tell again.
 */

import { toHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readReferenceValues as readSevSnpValues } from '../../attestation/sev-snp/documents.ts';
import { readReferenceValues as readTpmValues } from '../../attestation/tpm/documents.ts';

type Claims = Readonly<Record<string, JsonValue>>;
type Fit = (values: JsonValue, claims: Claims) => boolean | undefined;

const FITS: ReadonlyMap<string, Fit> = new Map<string, Fit>([
  ['tpm', tpmFit],
  ['sev-snp', sevSnpFit],
]);

/** @returns undefined where the claims do not tell, or this release does not know how to compare them */
export function fitsClaims(deviceClass: string, values: JsonValue, claims: JsonValue): boolean | undefined {
  const isObject = typeof claims === 'object' && claims !== null && !Array.isArray(claims);
  return isObject ? FITS.get(deviceClass)?.(values, claims as Claims) : undefined;
}

function tpmFit(values: JsonValue, { bank, pcrs }: Claims): boolean | undefined {
  if (typeof pcrs !== 'object' || pcrs === null || Array.isArray(pcrs)) return undefined;
  const reference = readTpmValues(values);
  if (reference.bank.bank !== bank) return false;
  const quoted = pcrs as Claims;
  return [...reference.pcrs].every(([pcr, known]) =>
    known.some((value) => toHex(value) === quoted[String(pcr)]),
  );
}

/** Minimum levels are no alternatives of each other, and the claims name only those that a policy demanded. */
function sevSnpFit(values: JsonValue, { measurement }: Claims): boolean | undefined {
  const reference = readSevSnpValues(values);
  return reference.kind === 'launch' ? toHex(reference.measurement) === measurement : undefined;
}
