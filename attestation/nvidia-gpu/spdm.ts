/**
 * What a GPU or a switch signs: an SPDM 1.1 request GET_MEASUREMENTS and its response MEASUREMENTS, one after the other
 * (DMTF DSP0274 1.1, section "Measurements"). Facts only. The signature is over all bytes before it, the request
 * included, so that the nonce of the request counts and the nonce of the response does not.
 */

import { decode, encode, fixedBytes, itemsToEnd, littleEndian, remainingBytes } from '../core/layout.ts';
import { sized, sizedBytes, structure } from '../core/layout.ts';
import type { ValueOf } from '../core/layout.ts';
import { defineRefusals } from '../core/refusal.ts';

const { u8, u16, u24 } = littleEndian;

export const spdmRefusals = defineRefusals('malformed', {
  'gpu-report-size': {
    means: 'A report of a GPU or switch is larger than any device of NVIDIA writes.',
    hint: 'Send as many bytes of the report as NVML gives as its size, and nothing around them.',
  },
  'gpu-report-trailing': {
    means: 'Bytes follow the signature of a report.',
    hint: 'Send the report up to its signature: what stands behind it is not signed.',
  },
  'gpu-request-header': {
    means: 'A report answers another request than the one for all measurements with a signature.',
    hint: 'Ask for the report through NVML or NSCQ; they send the one request that is accepted.',
  },
  'gpu-response-header': {
    means: 'A report does not hold the response MEASUREMENTS of SPDM 1.1.',
    hint: 'Collect the report again; a newer release may know a newer version of SPDM.',
  },
  'gpu-report-blocks': {
    means: 'The measurement blocks of a report are not those of the kind of device.',
    hint: 'A GPU has 64 blocks and an NVSwitch 31, each once, in order, with SHA-384 digests.',
  },
  'gpu-report-fsp': {
    means: 'A report was made by the foundation security processor of a chip, not by the GPU.',
    hint: 'Send the report that NVML gives as the attestation report of the GPU.',
  },
});

/** Reports have 4.1 to 4.3 KiB on GPUs, 2.2 KiB on switches; NVML has room for so many. */
export const MAX_REPORT_BYTES = 0x2000;
/** r and s of P-384, one after the other. */
const SIGNATURE_BYTES = 96;

/** SPDM 1.1. The request: code GET_MEASUREMENTS, a signature is wanted, all blocks, the certificate of slot 0. */
const REQUEST_HEADER = { version: 0x11, code: 0xe0, parameter1: 0x01, parameter2: 0xff, slot: 0 } as const;
const RESPONSE_HEADER = { version: 0x11, code: 0x60, parameter1: 0, parameter2: 0 } as const;

const request = structure({
  version: u8(),
  code: u8(),
  parameter1: u8(),
  parameter2: u8(),
  nonce: fixedBytes(32),
  slot: u8(),
});

const block = structure({
  index: u8(),
  specification: u8(),
  measurement: sized(u16(), structure({ valueType: u8(), value: sizedBytes(u16()) })),
});

const response = structure({
  version: u8(),
  code: u8(),
  parameter1: u8(),
  parameter2: u8(),
  blockCount: u8(),
  blocks: sized(u24(), itemsToEnd(block)),
  nonce: fixedBytes(32),
  opaqueData: sizedBytes(u16()),
});

const report = structure({
  request,
  response,
  signature: fixedBytes(SIGNATURE_BYTES),
  trailing: remainingBytes(),
});

/** A report as its bytes claim it: any device that speaks SPDM 1.1 may have made it. */
export type MeasurementsReport = Omit<ValueOf<typeof report>, 'trailing'>;

/** One measurement block. Its `index` counts from 1; reference values (RIM) count from 0. */
export type MeasurementBlock = ValueOf<typeof block>;

/** The kinds of devices whose reports are understood. */
export type ReportKind = 'gpu' | 'switch';

/** Number of blocks by kind: the GPU's system processor (GSP), and the NVSwitch LS10. */
const BLOCKS: Readonly<Record<ReportKind, number>> = { gpu: 64, switch: 31 };
/** The foundation security processor of Blackwell: its blocks are of mixed types, and it sends no opaque data. */
const FSP_BLOCKS = 52;

/** DMTFSpecMeasurementValueType (DSP0274 1.1): a digest of mutable firmware. Everything in these reports has it. */
const MUTABLE_FIRMWARE_DIGEST = 1;
const DMTF = 1;
export const MEASUREMENT_BYTES = 48;

/**
 * Reads a report of one kind of device.
 *
 * @throws RefusalError `gpu-report-*`, `gpu-request-header`, `gpu-response-header`, `layout-*`
 */
export function readReport(bytes: Uint8Array, kind: ReportKind, path = 'report'): MeasurementsReport {
  if (bytes.length > MAX_REPORT_BYTES) {
    const expected = `at most ${MAX_REPORT_BYTES} bytes`;
    throw spdmRefusals.error('gpu-report-size', { field: path, expected, found: `${bytes.length} bytes` });
  }
  const { trailing, ...members } = decode(report, bytes, path);
  if (trailing.length > 0) {
    const found = `${trailing.length} more`;
    throw spdmRefusals.error('gpu-report-trailing', { field: path, expected: 'no byte behind it', found });
  }
  refuseOtherHeaders(members, path);
  refuseOtherBlocks(members.response, kind, `${path}.response.blocks`);
  return members;
}

/** Writes the bytes that {@link readReport} reads. @throws RefusalError `layout-value` */
export function writeReport(members: MeasurementsReport): Uint8Array {
  return encode(report, { ...members, trailing: new Uint8Array(0) }, 'report');
}

/** The bytes that the device signs: request and response up to the signature. */
export function writeSignedBytes(members: Omit<MeasurementsReport, 'signature'>): Uint8Array {
  return signedBytes(writeReport({ ...members, signature: new Uint8Array(SIGNATURE_BYTES) }));
}

/** What of a report that {@link readReport} has read is signed: everything before the signature, which ends it. */
export function signedBytes(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(0, bytes.length - SIGNATURE_BYTES);
}

/**
 * The report without zeros behind it, which some ways of collecting it add. For the agent: a verifier accepts none.
 *
 * @throws RefusalError `gpu-report-trailing` when something else follows, `layout-*`
 */
export function withoutPadding(bytes: Uint8Array): Uint8Array {
  const { trailing } = decode(report, bytes, 'report');
  if (trailing.some((byte) => byte !== 0)) {
    const facts = { field: 'report', expected: 'zeros behind it', found: `${trailing.length} other bytes` };
    throw spdmRefusals.error('gpu-report-trailing', facts);
  }
  return bytes.subarray(0, bytes.length - trailing.length);
}

/** A new request for all measurements. @param nonce 32 bytes */
export function measurementsRequest(nonce: Uint8Array): MeasurementsReport['request'] {
  return { ...REQUEST_HEADER, nonce };
}

/** The response with these contents. @param nonce the device's own, 32 bytes; nobody looks at it */
export function measurementsResponse(
  contents: Pick<MeasurementsReport['response'], 'blocks' | 'nonce' | 'opaqueData'>,
): MeasurementsReport['response'] {
  return { ...RESPONSE_HEADER, blockCount: contents.blocks.length, ...contents };
}

/** The block of a firmware digest. @param digest 48 bytes */
export function firmwareDigestBlock(index: number, digest: Uint8Array): MeasurementBlock {
  return { index, specification: DMTF, measurement: { valueType: MUTABLE_FIRMWARE_DIGEST, value: digest } };
}

function refuseOtherHeaders(
  { request: asked, response: answer }: Pick<MeasurementsReport, 'request' | 'response'>,
  path: string,
): void {
  const request = { ...asked, nonce: undefined };
  const expected = { ...REQUEST_HEADER, nonce: undefined };
  if (headerText(request) !== headerText(expected)) {
    const facts = { field: `${path}.request`, expected: headerText(expected), found: headerText(request) };
    throw spdmRefusals.error('gpu-request-header', facts);
  }
  if (headerText(answer) !== headerText(RESPONSE_HEADER)) {
    throw spdmRefusals.error('gpu-response-header', {
      field: `${path}.response`,
      expected: headerText(RESPONSE_HEADER),
      found: headerText(answer),
    });
  }
}

interface Header {
  readonly version: number;
  readonly code: number;
  readonly parameter1: number;
  readonly parameter2: number;
  readonly slot?: number;
}

function headerText({ version, code, parameter1, parameter2, slot }: Header): string {
  const hex = [version, code, parameter1, parameter2].map((byte) => byte.toString(16).padStart(2, '0'));
  return `${hex.join(' ')}${slot === undefined ? '' : `, slot ${slot}`}`;
}

function refuseOtherBlocks(
  { blockCount, blocks, opaqueData }: MeasurementsReport['response'],
  kind: ReportKind,
  field: string,
): void {
  if (blocks.length === FSP_BLOCKS && opaqueData.length === 0) {
    const facts = {
      field,
      expected: `the ${BLOCKS[kind]} blocks of a ${kind}`,
      found: `${FSP_BLOCKS} blocks`,
    };
    throw spdmRefusals.error('gpu-report-fsp', facts);
  }
  const refuse = (expected: string, found: string): Error =>
    spdmRefusals.error('gpu-report-blocks', { field, expected, found });
  if (blockCount !== blocks.length || blocks.length !== BLOCKS[kind]) {
    throw refuse(`${BLOCKS[kind]} blocks of a ${kind}`, `${blocks.length} blocks, counted as ${blockCount}`);
  }
  blocks.forEach(({ index, specification, measurement: { valueType, value } }, i) => {
    const isFirmwareDigest = valueType === MUTABLE_FIRMWARE_DIGEST && value.length === MEASUREMENT_BYTES;
    if (index === i + 1 && specification === DMTF && isFirmwareDigest) return;
    throw refuse(
      `block ${i + 1}, specification ${DMTF}, type ${MUTABLE_FIRMWARE_DIGEST}, ${MEASUREMENT_BYTES} bytes`,
      `block ${index}, specification ${specification}, type ${valueType}, ${value.length} bytes`,
    );
  });
}
