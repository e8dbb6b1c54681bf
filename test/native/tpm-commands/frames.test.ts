import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fromHex, toHex } from '../../../attestation/core/bytes.ts';
import * as commands from '../../../native/tpm-commands/commands.ts';
import { type Command, decodeResponse, encodeCommand } from '../../../native/tpm-commands/frames.ts';
import { toSelectionList } from '../../../native/tpm-commands/selection.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';

const declared = Object.values(commands).filter(
  (value) => 'response' in value,
) as unknown as readonly Command<unknown, unknown>[];

function hex(text: string): Uint8Array {
  return fromHex(text.replaceAll(' ', ''), 'test');
}

/** A success response with a correct header around the given body. */
function respond(tag: number, body: Uint8Array, responseCode = 0): Uint8Array {
  const response = new Uint8Array(10 + body.length);
  const view = new DataView(response.buffer);
  view.setUint16(0, tag);
  view.setUint32(2, response.length);
  view.setUint32(6, responseCode);
  response.set(body, 10);
  return response;
}

/** A TPM that gives the same answers one after another. */
function scripted(...responses: readonly Uint8Array[]): { readonly tpm: Tpm; readonly sent: string[] } {
  const sent: string[] = [];
  const tpm = Tpm.over({
    address: 'test',
    transmit: (command) => {
      sent.push(toHex(command));
      return Promise.resolve(responses[sent.length - 1] ?? respond(0x8001, new Uint8Array(0), 0x101));
    },
    close: () => Promise.resolve(),
  });
  return { tpm, sent };
}

describe('commands on the wire', () => {
  it('TA-7: stand as Part 1, section 18 says, without authorization', () => {
    const bytes = encodeCommand(commands.getRandom, { handles: [], parameters: { bytes: 16 } });
    expect(toHex(bytes)).toBe('80010000000c0000017b0010');
  });

  it('TA-8: carry empty passwords and the policy session that was given', () => {
    const bytes = encodeCommand(commands.activateCredential, {
      handles: [0x80000000, 0x81010001],
      sessions: [undefined, 0x03000000],
      parameters: { credentialBlob: Uint8Array.of(0xaa), secret: Uint8Array.of(0xbb) },
    });
    const password = '40000009 0000 01 0000';
    const policy = '03000000 0000 01 0000';
    const expected = `8002 0000002e 00000147 80000000 81010001 00000012 ${password} ${policy} 0001aa 0001bb`;
    expect(toHex(bytes)).toBe(toHex(hex(expected)));
  });

  it('refuse parameters that do not fit', () => {
    const invocation = { handles: [], parameters: { bytes: 0x10000 } };
    expect(refusalCode(() => encodeCommand(commands.getRandom, invocation))).toBe('layout-value');
  });
});

describe('responses on the wire', () => {
  const random = respond(0x8001, hex('0004 01020304'));
  const quoteBody = hex('0000000a 0001ff 0014 000b 0001aa');

  it('TA-7: are read to the last byte', () => {
    expect(decodeResponse(commands.getRandom, random).parameters.random).toEqual(hex('01020304'));
  });

  it.each([
    ['a byte behind it', respond(0x8001, hex('0004 01020304 00')), 'layout-trailing'],
    ['its end missing', respond(0x8001, hex('0004 010203')), 'layout-truncated'],
    ['the tag of a response with sessions', respond(0x8002, hex('0004 01020304')), 'tpm-answer-malformed'],
    ['the tag of a TPM 1.2', respond(0x00c4, hex('0004 01020304')), 'layout-value'],
  ])('TA-7: are refused with %s', (_, response, code) => {
    expect(refusalCode(() => decodeResponse(commands.getRandom, response))).toBe(code);
  });

  it.each([
    ['an HMAC in the authorization', hex('0000 01 0001 55'), 'layout-value'],
    ['a session that has ended', hex('0000 00 0000'), 'layout-value'],
    ['one authorization too many', hex('0000 01 0000 0000 01 0000'), 'layout-trailing'],
    ['no authorization', new Uint8Array(0), 'layout-truncated'],
  ])('TA-8: are refused with %s', (_, authorization, code) => {
    const response = respond(0x8002, Uint8Array.of(...quoteBody, ...authorization));
    expect(refusalCode(() => decodeResponse(commands.quote, response))).toBe(code);
  });

  it('TA-8: are accepted with one empty authorization', () => {
    const response = respond(0x8002, Uint8Array.of(...quoteBody, ...hex('0000 01 0000')));
    expect(decodeResponse(commands.quote, response).parameters.attest).toEqual(Uint8Array.of(0xff));
  });

  it('TA-7: only refuse, whatever the bytes', () => {
    const tag = fc.constantFrom(0x8001, 0x8002);
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      // Small numbers lead deeper into the layouts than random ones.
      fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 80 }).map((bytes) => Uint8Array.from(bytes)),
    );
    fc.assert(
      fc.property(fc.constantFrom(...declared), tag, body, (command, responseTag, bytes) => {
        const code = refusalCode(() => decodeResponse(command, respond(responseTag, bytes)));
        expect(code).toMatch(/^(accepted|layout-.*|tpm-.*)$/);
      }),
      { numRuns: 3000 },
    );
  });

  it('TA-7: only refuse, whatever the bytes of the whole frame', () => {
    fc.assert(
      fc.property(fc.constantFrom(...declared), fc.uint8Array({ maxLength: 64 }), (command, bytes) => {
        expect(refusalCode(() => decodeResponse(command, bytes))).toMatch(/^(accepted|layout-.*|tpm-.*)$/);
      }),
    );
  });
});

describe('a TPM that refuses', () => {
  const refusing = (code: number): Uint8Array => respond(0x8001, new Uint8Array(0), code);
  const answer = respond(0x8001, hex('0002 0102'));

  it.each([0x922, 0x908, 0x90a, 0x920, 0x923])(
    'TA-9: is asked again after response code %i',
    async (code) => {
      const { tpm, sent } = scripted(refusing(code), refusing(code), answer);
      expect(await tpm.random(2)).toEqual(hex('0102'));
      expect(sent).toHaveLength(3);
      expect(new Set(sent).size).toBe(1);
    },
  );

  it.each([
    [0x101, 'tpm-response'],
    [0x2c4, 'tpm-response'],
    [0x902, 'tpm-slots-full'],
    [0x903, 'tpm-slots-full'],
    [0x905, 'tpm-slots-full'],
    [0x921, 'tpm-locked-out'],
  ])('TA-9: is refused at once for response code %i', async (code, expected) => {
    const { tpm, sent } = scripted(refusing(code), answer);
    expect(await refusalCodeAsync(() => tpm.random(2))).toBe(expected);
    expect(sent).toHaveLength(1);
  });

  it('TA-10: gets its session unloaded when the policy fails', async () => {
    const session = respond(0x8001, hex('03000001 0000'));
    const clock = respond(0x8001, new Uint8Array(25));
    const { tpm, sent } = scripted(clock, session, refusing(0x9a2), respond(0x8001, new Uint8Array(0)));
    const key = { handle: 0x80000001, name: new Uint8Array(0), publicArea: lowRangeKey };
    const activation = (): Promise<unknown> =>
      tpm.activateCredential(key, key, new Uint8Array(0), new Uint8Array(0));
    expect(await refusalCodeAsync(activation)).toBe('tpm-response');
    expect(sent.at(-1)).toBe(toHex(hex('8001 0000000e 00000165 03000001')));
  });
});

describe('reading PCRs', () => {
  /** An answer with the PCRs of one byte of the bitmap, each with a value of 32 times its number. */
  const values = (updateCounter: number, byte: 0 | 1): Uint8Array => {
    const bitmap = byte === 0 ? 'ff0000' : '00ff00';
    const digests = Array.from(
      { length: 8 },
      (_, i) => `0020${toHex(new Uint8Array(32).fill(8 * byte + i))}`,
    );
    const counter = updateCounter.toString(16).padStart(8, '0');
    return respond(0x8001, hex(`${counter} 00000001 000b 03 ${bitmap} 00000008 ${digests.join('')}`));
  };
  const sixteen = toSelectionList({ sha256: Array.from({ length: 16 }, (_, i) => i) });

  it('TA-15: joins the answers of one state', async () => {
    const { tpm, sent } = scripted(values(7, 0), values(7, 1));
    const read = await tpm.readPcrs(sixteen);
    expect(read.map(({ pcr, value }) => [pcr, value[0]])).toEqual(read.map((_, i) => [i, i]));
    expect(read).toHaveLength(16);
    expect(sent).toHaveLength(2);
  });

  it('TA-15: begins anew when the TPM changed between two answers', async () => {
    const { tpm, sent } = scripted(values(7, 0), values(8, 1), values(8, 0), values(8, 1));
    expect(await tpm.readPcrs(sixteen)).toHaveLength(16);
    expect(sent).toHaveLength(4);
  });

  it('TA-15: gives up when the TPM changes every time', async () => {
    const moving = Array.from({ length: 40 }, (_, i) => values(i, i % 2 === 0 ? 0 : 1));
    expect(await refusalCodeAsync(() => scripted(...moving).tpm.readPcrs(sixteen))).toBe('tpm-pcrs-unstable');
  });

  it('TA-7: refuses PCRs that were not asked for, and values without a PCR', async () => {
    const eight = toSelectionList({ sha256: [0, 1, 2, 3, 4, 5, 6, 7] });
    const others = (): Promise<unknown> => scripted(values(1, 1)).tpm.readPcrs(eight);
    expect(await refusalCodeAsync(others)).toBe('tpm-answer-malformed');
    const surplus = hex(`00000001 00000001 000b 03 010000 00000002 ${'0000'.repeat(2)}`);
    const tooMany = (): Promise<unknown> => scripted(respond(0x8001, surplus)).tpm.readPcrs(eight);
    expect(await refusalCodeAsync(tooMany)).toBe('tpm-answer-malformed');
  });
});

const lowRangeKey = {
  type: 0x0001,
  nameAlgorithm: 0x000b,
  objectAttributes: 0x000300b2,
  authPolicy: new Uint8Array(0),
  parameters: {
    symmetric: { algorithm: 0x0010 },
    scheme: { algorithm: 0x0010 },
    keyBits: 2048,
    exponent: 0,
  },
  unique: new Uint8Array(0),
} as const;
