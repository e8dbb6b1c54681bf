import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toHex } from '../../../attestation/core/bytes.ts';
import {
  firmwareDigestBlock,
  measurementsRequest,
  measurementsResponse,
  readReport,
  signedBytes,
  withoutPadding,
  writeReport,
  writeSignedBytes,
} from '../../../attestation/nvidia-gpu/spdm.ts';
import type { MeasurementBlock, ReportKind } from '../../../attestation/nvidia-gpu/spdm.ts';
import { flippedBytes } from '../../support/flipped-bytes.ts';
import { refusalCode } from '../../support/refusal-code.ts';
import { nvidiaVectorsMissing, vectorDevice, vectorDevices } from './vectors.ts';

const RECORD = 45;
const BLOCK_BYTES = 55;

function blocks(count: number): readonly MeasurementBlock[] {
  return Array.from({ length: count }, (_, i) => firmwareDigestBlock(i + 1, new Uint8Array(48).fill(i)));
}

function report(
  count = 64,
  contents: { opaqueData?: Uint8Array; blocks?: readonly MeasurementBlock[] } = {},
): Uint8Array {
  return writeReport({
    request: measurementsRequest(new Uint8Array(32).fill(7)),
    response: measurementsResponse({
      blocks: contents.blocks ?? blocks(count),
      nonce: new Uint8Array(32).fill(9),
      opaqueData: contents.opaqueData ?? Uint8Array.of(1, 2, 3),
    }),
    signature: new Uint8Array(96).fill(5),
  });
}

function code(bytes: Uint8Array, kind: ReportKind = 'gpu'): string {
  return refusalCode(() => readReport(bytes, kind));
}

function withByte(at: number, byte: number): Uint8Array {
  const bytes = report();
  bytes[at] = byte;
  return bytes;
}

describe('reports', () => {
  it('NG-1: have their members where SPDM 1.1 puts them', () => {
    const bytes = report();
    expect(bytes).toHaveLength(RECORD + 64 * BLOCK_BYTES + 32 + 2 + 3 + 96);
    expect(toHex(bytes.subarray(0, 4))).toBe('11e001ff');
    expect(toHex(bytes.subarray(37, RECORD + 7))).toBe('1160000040c00d0001013300013000');
    const { request, response, signature } = readReport(bytes, 'gpu');
    expect(request.nonce).toEqual(new Uint8Array(32).fill(7));
    expect(response.blocks[63]).toEqual(firmwareDigestBlock(64, new Uint8Array(48).fill(63)));
    expect(response.opaqueData).toEqual(Uint8Array.of(1, 2, 3));
    expect(signature).toEqual(new Uint8Array(96).fill(5));
  });

  it('NG-1: W11: read and write are inverse', () => {
    const contents = fc.record({
      digests: fc.uint8Array({ minLength: 48 * 31, maxLength: 48 * 31 }),
      opaqueData: fc.uint8Array({ maxLength: 300 }),
    });
    fc.assert(
      fc.property(contents, ({ digests, opaqueData }) => {
        const list = blocks(31).map(({ index }, i) =>
          firmwareDigestBlock(index, digests.subarray(48 * i, 48 * (i + 1))),
        );
        const bytes = report(31, { blocks: list, opaqueData });
        expect(toHex(writeReport(readReport(bytes, 'switch')))).toBe(toHex(bytes));
      }),
      { numRuns: 20 },
    );
  });

  it('NG-1: refuse every cut', () => {
    const bytes = report();
    for (let length = 0; length < bytes.length; length += 1) {
      expect([length, code(bytes.subarray(0, length))]).toEqual([length, 'layout-truncated']);
    }
  });

  it('NG-1: refuse what follows the signature, zeros too, and what is larger than a report', () => {
    expect(code(concatBytes(report(), Uint8Array.of(0)))).toBe('gpu-report-trailing');
    expect(code(concatBytes(report(), Uint8Array.of(0x41)))).toBe('gpu-report-trailing');
    expect(code(new Uint8Array(0x2001))).toBe('gpu-report-size');
  });

  it('NG-1: the agent cuts zeros and nothing else', () => {
    expect(withoutPadding(concatBytes(report(), new Uint8Array(3)))).toEqual(report());
    expect(withoutPadding(report())).toEqual(report());
    const other = concatBytes(report(), Uint8Array.of(0, 1));
    expect(refusalCode(() => withoutPadding(other))).toBe('gpu-report-trailing');
  });

  it.each([
    ['version of the request', 0, 0x12, 'gpu-request-header'],
    ['request code', 1, 0xe1, 'gpu-request-header'],
    ['wish for a signature', 2, 0, 'gpu-request-header'],
    ['selection of blocks', 3, 0, 'gpu-request-header'],
    ['slot', 36, 1, 'gpu-request-header'],
    ['version of the response', 37, 0x10, 'gpu-response-header'],
    ['response code', 38, 0x7f, 'gpu-response-header'],
    ['first parameter', 39, 1, 'gpu-response-header'],
    ['second parameter', 40, 1, 'gpu-response-header'],
    ['number of blocks', 41, 63, 'gpu-report-blocks'],
    ['length of the record', 42, 0xc1, 'layout-truncated'],
    ['index of a block', RECORD + BLOCK_BYTES, 1, 'gpu-report-blocks'],
    ['specification of a block', RECORD + 1, 2, 'gpu-report-blocks'],
    ['size of a block', RECORD + 2, 0x32, 'layout-truncated'],
    ['type of a value', RECORD + 4, 0x81, 'gpu-report-blocks'],
    ['size of a value', RECORD + 5, 0x2f, 'layout-trailing'],
  ])('NG-2: NG-3: refuse another %s', (_, at, byte, expected) => {
    expect(code(withByte(at, byte))).toBe(expected);
  });

  it('NG-3: have as many blocks as their kind of device', () => {
    expect(code(report(31), 'switch')).toBe('accepted');
    expect(code(report(31), 'gpu')).toBe('gpu-report-blocks');
    expect(code(report(64), 'switch')).toBe('gpu-report-blocks');
    expect(code(report(0), 'gpu')).toBe('gpu-report-blocks');
  });

  it('NG-3: refuse a digest of another length', () => {
    const short = blocks(64).with(5, firmwareDigestBlock(6, new Uint8Array(47)));
    expect(code(report(64, { blocks: short }))).toBe('gpu-report-blocks');
  });

  it('NG-4: of the security processor are known as such', () => {
    expect(code(report(52, { opaqueData: new Uint8Array(0) }))).toBe('gpu-report-fsp');
    expect(code(report(52))).toBe('gpu-report-blocks');
  });

  it('NG-5: are signed up to the signature, the request included', () => {
    const bytes = report();
    expect(signedBytes(bytes)).toEqual(bytes.subarray(0, -96));
    expect(writeSignedBytes(readReport(bytes, 'gpu'))).toEqual(signedBytes(bytes));
  });

  it('W11: arbitrary bytes and flipped bits give a report or a refusal', () => {
    const bytes = fc.uint8Array({ maxLength: 4400 });
    fc.assert(
      fc.property(bytes, (noise) => void code(noise)),
      { numRuns: 200 },
    );
    for (const flipped of flippedBytes(report(31))) {
      if (code(flipped, 'switch') === 'accepted') {
        expect(toHex(writeReport(readReport(flipped, 'switch')))).toBe(toHex(flipped));
      }
    }
  });
});

describe.skipIf(nvidiaVectorsMissing !== undefined)(`genuine reports ${nvidiaVectorsMissing ?? ''}`, () => {
  const OTHERS: Readonly<Record<string, string>> = {
    'h100-580.95.05-trailing': 'gpu-report-trailing',
    'gb100-fsp-not-gsp': 'gpu-report-fsp',
  };

  it.each(vectorDevices())('NG-1: $id is read and written', ({ id, kind, report: bytes, parsed }) => {
    expect(code(bytes, kind)).toBe(OTHERS[id] ?? 'accepted');
    if (OTHERS[id] !== undefined) return;
    const members = readReport(bytes, kind);
    expect(toHex(writeReport(members))).toBe(toHex(bytes));
    expect(toHex(members.request.nonce)).toBe(parsed['nonce']);
    expect(signedBytes(bytes)).toHaveLength(parsed['signature_offset'] as number);
  });

  it('NG-1: NG-5: without its padding the padded one is whole', () => {
    const { report: bytes, kind, parsed } = vectorDevice('h100-580.95.05-trailing');
    const whole = withoutPadding(bytes);
    expect(code(whole, kind)).toBe('accepted');
    expect(signedBytes(whole)).toHaveLength(parsed['signature_offset'] as number);
  });

  it('NG-3: a report of a switch is none of a GPU', () => {
    expect(code(vectorDevice('ls10-96.10.55.00.01').report, 'gpu')).toBe('gpu-report-blocks');
  });
});
