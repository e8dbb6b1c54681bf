/**
 * Evidence of GPUs and NVSwitches as files of others hold it: a bare report, or JSON of NVIDIA's tools and of
 * Confidential Containers with one device or many. What these put beside report and certificates is signed by nobody:
 * it is kept as a hint, shown as one, and never judged by.
 */

import { z } from 'zod';

import { fromBase64, fromHex, fromUtf8 } from '../../attestation/core/bytes.ts';
import { parseForeignJson } from '../../attestation/core/foreign-json.ts';
import { looksLikePem } from '../../attestation/core/pem.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readPemChain } from '../../attestation/nvidia-gpu/evidence.ts';
import { readShape } from '../platform/shape.ts';

export const nvidiaFileRefusals = defineRefusals('malformed', {
  'evidence-gpu-json': {
    means: 'A file is neither a report of a GPU nor one of the JSON forms in which tools write them.',
    hint: 'Give the bytes of the report, or what nvattest, NVIDIA’s SDK or Confidential Containers wrote.',
  },
});

/** Sixteen GPUs and four switches with their chains in base64 have about 300 KiB. */
export const MAX_PRESENTED_BYTES = 1024 * 1024;
const MAX_DEVICES = 32;
/** A list, its entries, and one wrapping around them. */
const MAX_DEPTH = 4;

/** What a file says of a device beside its report and certificates. */
export type UnsignedHints = Readonly<Record<string, string>>;

/** One device as a file presents it. */
export interface PresentedDevice {
  /** Where in the file, for messages. */
  readonly path: string;
  readonly report: Uint8Array;
  /** DER, in the order of the file; empty where they come in another one. */
  readonly certificates: readonly Uint8Array[];
  readonly hints: UnsignedHints;
}

const text = z.string().max(MAX_PRESENTED_BYTES);
const hint = z.string().max(200).optional();

/** An entry of any of the forms. */
const entrySchema = z.strictObject({
  evidence: text,
  certificate: text,
  arch: hint,
  nonce: hint,
  uuid: hint,
  version: hint,
  driver_version: hint,
  vbios_version: hint,
});
const entriesSchema = z.array(entrySchema).min(1).max(MAX_DEVICES);

/** NVIDIA's SDK; nvattest; Confidential Containers; what is sent to NVIDIA's remote service. */
const fileSchema = z.union([
  entriesSchema,
  z.strictObject({
    evidences: entriesSchema,
    result_code: z.int().optional(),
    result_message: hint,
  }),
  z.strictObject({ device_evidence_list: entriesSchema }),
  z.strictObject({
    nonce: hint,
    arch: hint,
    evidence_list: entriesSchema,
    claims_version: hint,
  }),
]);

/** The version of SPDM, with which every report begins; no JSON does. */
const REPORT_START = 0x11;

/**
 * Reads one file of either form.
 *
 * @throws RefusalError `evidence-gpu-json`, `shape-mismatch`, `utf8-malformed`, `base64-malformed`, `hex-malformed`,
 *   `pem-malformed`, `gpu-chain-size`
 */
export function readPresentedDevices(bytes: Uint8Array, path: string): readonly PresentedDevice[] {
  if (bytes[0] === REPORT_START) return [{ path, report: bytes, certificates: [], hints: {} }];
  const parsed = parseForeignJson(fromUtf8(bytes, path), MAX_DEPTH);
  if (parsed.problem !== undefined) {
    throw nvidiaFileRefusals.error('evidence-gpu-json', {
      field: path,
      expected: 'a report, or JSON with each member once',
      found: { 'too-deep': 'JSON too deep', 'not-json': 'neither', 'duplicate-member': 'a member twice' }[
        parsed.problem
      ],
    });
  }
  const { entries, common } = entriesOf(readShape(fileSchema, parsed.value, path));
  return entries.map((entry, i) => deviceOf(entry, common, `${path}[${i}]`));
}

type Entry = z.infer<typeof entrySchema>;

function entriesOf(file: z.infer<typeof fileSchema>): {
  readonly entries: readonly Entry[];
  readonly common: UnsignedHints;
} {
  if (Array.isArray(file)) return { entries: file, common: {} };
  if ('evidences' in file) return { entries: file.evidences, common: {} };
  if ('device_evidence_list' in file) return { entries: file.device_evidence_list, common: {} };
  return { entries: file.evidence_list, common: given({ arch: file.arch, nonce: file.nonce }) };
}

function deviceOf(
  { evidence, certificate, ...hints }: Entry,
  common: UnsignedHints,
  path: string,
): PresentedDevice {
  return {
    path,
    report: readEncoded(evidence, `${path}.evidence`),
    certificates: readChainText(certificate, `${path}.certificate`),
    hints: { ...common, ...given(hints) },
  };
}

function given(members: Readonly<Record<string, string | undefined>>): UnsignedHints {
  return Object.fromEntries(
    Object.entries(members).filter((member): member is [string, string] => member[1] !== undefined),
  );
}

/** Confidential Containers writes hexadecimal digits, all others base64; a report in base64 is never hex alone. */
function readEncoded(encoded: string, path: string): Uint8Array {
  return /^11[0-9a-fA-F]*$/.test(encoded) ? fromHex(encoded.toLowerCase(), path) : fromBase64(encoded, path);
}

/** PEM, mostly in base64 once more. */
function readChainText(encoded: string, path: string): readonly Uint8Array[] {
  const bytes = new TextEncoder().encode(encoded);
  return readPemChain(looksLikePem(bytes) ? bytes : fromBase64(encoded, path), path);
}
