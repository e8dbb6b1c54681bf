/** The evidence of a TPM in a bundle: a quote, and the logs that explain it (docs/spec/evidence.md, section 2). */

import { toBase64, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { base64Shape, hexShape, mapShape, nullableShape, objectShape } from '../core/json-shape.ts';
import { defineRefusals } from '../core/refusal.ts';
import { decodePublicArea } from './layout.ts';
import type { PublicArea } from './layout.ts';
import { PCR_COUNT } from './pcr-selection.ts';
import type { PresentedQuote } from './quote.ts';
import { ratchetShape, writeRatchet, type PresentedRatchet } from './ratchet/evidence.ts';

export const evidenceRefusals = defineRefusals('malformed', {
  'tpm-evidence-banks': {
    means: 'TPM evidence has the values of no PCR bank or of several.',
    hint: 'Send the values of the one bank that the challenge asks for.',
  },
});

/** The largest logs that are read, in bytes. Real boot event logs have up to about 100 KiB. */
export const MAX_LOG_BYTES = { eventLog: 512 * 1024, imaList: 2 * 1024 * 1024, agentLog: 64 * 1024 } as const;

/**
 * Logs of what was measured, as the machine keeps them; null where the challenge does not ask for one. Whoever is root can
 * change them: they are worth what their replay against the quote says.
 */
export interface MeasurementLogs {
  /** Of the firmware and what it started (docs/spec/tpm-event-log.md). */
  readonly eventLog: Uint8Array | null;
  /** Of Linux's Integrity Measurement Architecture, in the binary form. */
  readonly imaList: Uint8Array | null;
  /** Of the agent, about itself. */
  readonly agentLog: Uint8Array | null;
}

export const NO_LOGS: MeasurementLogs = { eventLog: null, imaList: null, agentLog: null };

/** What the evidence claims. */
export interface TpmEvidence extends PresentedQuote, MeasurementLogs {
  readonly akPublic: PublicArea;
  /** Null where the challenge does not ask for it. */
  readonly ratchet: PresentedRatchet | null;
}

const evidenceShape = objectShape({
  akPublic: base64Shape({ maxBytes: 1024 }),
  attest: base64Shape({ maxBytes: 2048 }),
  signature: base64Shape({ maxBytes: 1024 }),
  pcrs: mapShape(
    { name: /^sha(?:256|384)$/, maxMembers: 1 },
    mapShape({ name: /^(?:[0-9]|1[0-9]|2[0-3])$/, maxMembers: PCR_COUNT }, hexShape({ bytes: [32, 48] })),
  ),
  eventLog: nullableShape(base64Shape({ maxBytes: MAX_LOG_BYTES.eventLog })),
  imaList: nullableShape(base64Shape({ maxBytes: MAX_LOG_BYTES.imaList })),
  agentLog: nullableShape(base64Shape({ maxBytes: MAX_LOG_BYTES.agentLog })),
  ratchet: nullableShape(ratchetShape),
});

/** @throws RefusalError `shape-*`, `base64-malformed`, `layout-*`, `tpm-evidence-banks` */
export function readTpmEvidence(value: JsonValue, path: string): TpmEvidence {
  const { akPublic, attest, signature, pcrs, ...rest } = evidenceShape(value, path);
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
    ...rest,
  };
}

/** What an agent has in hand after TPM2_Quote, all without TPM2B sizes. */
export interface CollectedQuote extends PresentedQuote {
  /** TPMT_PUBLIC. */
  readonly akPublic: Uint8Array;
  readonly bank: 'sha256' | 'sha384';
}

/** Writes the member that {@link readTpmEvidence} reads. */
export function writeTpmEvidence(
  quote: CollectedQuote,
  logs: MeasurementLogs,
  ratchet: PresentedRatchet | null,
): JsonValue {
  const { akPublic, attest, signature, bank, pcrs } = quote;
  const values = Object.fromEntries([...pcrs].map(([pcr, value]) => [String(pcr), toHex(value)]));
  return {
    akPublic: toBase64(akPublic),
    attest: toBase64(attest),
    signature: toBase64(signature),
    pcrs: { [bank]: values },
    eventLog: optionalBase64(logs.eventLog),
    imaList: optionalBase64(logs.imaList),
    agentLog: optionalBase64(logs.agentLog),
    ratchet: ratchet && writeRatchet(ratchet),
  };
}

function optionalBase64(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : toBase64(bytes);
}
