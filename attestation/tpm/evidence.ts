/** The `tpm` member of an evidence bundle: `{akPublic, attest, signature, pcrs}` (docs/spec/evidence.md, section 2). */

import { toBase64, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { base64Shape, hexShape, mapShape, objectShape } from '../core/json-shape.ts';
import { defineRefusals } from '../core/refusal.ts';
import { decodePublicArea } from './layout.ts';
import type { PublicArea } from './layout.ts';
import { PCR_COUNT } from './pcr-selection.ts';
import type { PresentedQuote } from './quote.ts';

export const evidenceRefusals = defineRefusals('malformed', {
  'tpm-evidence-banks': {
    means: 'TPM evidence has the values of no PCR bank or of several.',
    hint: 'Send the values of the one bank that the challenge asks for.',
  },
});

/** What the evidence claims. */
export interface TpmEvidence extends PresentedQuote {
  readonly akPublic: PublicArea;
}

const evidenceShape = objectShape({
  akPublic: base64Shape({ maxBytes: 1024 }),
  attest: base64Shape({ maxBytes: 2048 }),
  signature: base64Shape({ maxBytes: 1024 }),
  pcrs: mapShape(
    { name: /^sha(?:256|384)$/, maxMembers: 1 },
    mapShape({ name: /^(?:[0-9]|1[0-9]|2[0-3])$/, maxMembers: PCR_COUNT }, hexShape({ bytes: [32, 48] })),
  ),
});

/** @throws RefusalError `shape-*`, `base64-malformed`, `layout-*`, `tpm-evidence-banks` */
export function readTpmEvidence(value: JsonValue, path: string): TpmEvidence {
  const { akPublic, attest, signature, pcrs } = evidenceShape(value, path);
  const [entry] = pcrs;
  if (entry === undefined) {
    throw evidenceRefusals.error('tpm-evidence-banks', {
      field: `${path}.pcrs`,
      expected: 'the values of one bank',
      found: 'none',
    });
  }
  const [bank, values] = entry;
  return {
    akPublic: decodePublicArea(akPublic, `${path}.akPublic`),
    attest,
    signature,
    bank,
    pcrs: new Map([...values].map(([pcr, digest]) => [Number(pcr), digest])),
  };
}

/** What an agent has in hand after TPM2_Quote, all without TPM2B sizes. */
export interface CollectedQuote extends PresentedQuote {
  /** TPMT_PUBLIC. */
  readonly akPublic: Uint8Array;
  readonly bank: 'sha256' | 'sha384';
}

/** Writes the member that {@link readTpmEvidence} reads. */
export function writeTpmEvidence({ akPublic, attest, signature, bank, pcrs }: CollectedQuote): JsonValue {
  const values = Object.fromEntries([...pcrs].map(([pcr, value]) => [String(pcr), toHex(value)]));
  return {
    akPublic: toBase64(akPublic),
    attest: toBase64(attest),
    signature: toBase64(signature),
    pcrs: { [bank]: values },
  };
}
