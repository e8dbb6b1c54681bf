import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { toUtf8 } from '../../../../attestation/core/bytes.ts';
import { isTrusted } from '../../../../attestation/core/trusted.ts';
import { readNrasAnswer } from '../../../../attestation/nvidia-gpu/nras/answer.ts';
import { readKeySet } from '../../../../attestation/nvidia-gpu/nras/key-set.ts';
import {
  NRAS_ISSUER,
  nrasCollateralName,
  verifyNrasAnswer,
  type NrasEvidence,
  type NrasInputs,
} from '../../../../attestation/nvidia-gpu/nras/verify.ts';
import {
  answerOver,
  failedDevice,
  goodGpu,
  goodSwitch,
  keySet,
  NRAS_NONCE,
  NRAS_TIME,
  NrasSigner,
} from '../../../support/nras-service.ts';

let signer: NrasSigner;
let other: NrasSigner;
beforeAll(() => {
  signer = new NrasSigner();
  other = new NrasSigner();
});

const gpu: NrasEvidence = {
  kind: 'gpu',
  leafSerialNumber: Uint8Array.of(1, 2),
  driverVersion: '570.172.08',
  vbiosVersion: '96.00.CF.00.02',
};
const switchOf: NrasEvidence = {
  ...gpu,
  kind: 'switch',
  driverVersion: undefined,
  vbiosVersion: '96.10.55.00.01',
};

const inputs = (more: Partial<NrasInputs> = {}): NrasInputs => ({
  evidence: [gpu],
  nonce: NRAS_NONCE,
  issuer: NRAS_ISSUER,
  time: NRAS_TIME,
  keys: keySet(signer.jwk()),
  anchors: [signer.anchor()],
  ...more,
});

async function codeOf(answer: Uint8Array, more: Partial<NrasInputs> = {}): Promise<string> {
  const verdict = await verifyNrasAnswer(answer, inputs(more));
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;
}

/** An answer about one GPU, some of its claims changed. */
const answerOf = (device: object = {}, overall: Record<string, unknown> = {}): Uint8Array =>
  answerOver(signer, { 'GPU-0': signer.token({ ...goodGpu, ...device }) }, overall);

describe('an answer of the service', () => {
  it('NT-1: is accepted when all of it holds', async () => {
    const verdict = await verifyNrasAnswer(answerOf(), inputs());
    if (verdict.outcome !== 'accepted') throw new Error(verdict.refusals[0].code);
    expect(isTrusted(verdict.claims)).toBe(true);
    expect(verdict.claims).toEqual({
      issuer: NRAS_ISSUER,
      claimsVersion: '3.0',
      issuedAt: NRAS_TIME - 10,
      expiresAt: NRAS_TIME + 3590,
      simulated: false,
      devices: [
        {
          name: 'GPU-0',
          ueid: '258',
          hwmodel: 'GH100 A01 GSP BROM',
          driverVersion: '570.172.08',
          vbiosVersion: '96.00.CF.00.02',
        },
      ],
    });
    const inOrder = [
      'nras-algorithm',
      'nras-submodules',
      'nras-key',
      'nras-signature',
      'nras-issuer',
      'nras-time',
    ];
    const later = [
      'nras-nonce',
      'nras-device-failed',
      'nras-overall',
      'nras-device-claims',
      'nras-device-count',
    ];
    const made = new Set(verdict.checks.map(({ id }) => id));
    expect([...made]).toEqual([...inOrder, ...later, 'nras-other-device']);
  });

  it('NT-14: stands in the collateral by the leaf of its device', () => {
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(nrasCollateralName({ encoded: new Uint8Array() })).toBe(`nras:${empty}`);
  });

  it('NT-1: about a switch, too', async () => {
    const answer = answerOver(signer, { 'SWITCH-0': signer.token(goodSwitch) });
    expect(await codeOf(answer, { evidence: [switchOf] })).toBe('accepted');
    expect(await codeOf(answer)).toBe('nras-other-device');
    const older = answerOver(signer, { 'SWITCH-0': signer.token(goodSwitch) }, { 'x-nvidia-ver': '2.0' });
    expect(await codeOf(older, { evidence: [switchOf] })).toBe('nras-malformed');
  });

  it('NT-2: is read strictly', async () => {
    const text = new TextDecoder().decode(answerOf());
    expect(await codeOf(toUtf8(`${text} `))).toBe('accepted');
    expect(await codeOf(toUtf8(text.replace('{"GPU-0":', '{"GPU-0":"a.b.c","GPU-0":')))).toBe(
      'nras-malformed',
    );
    expect(await codeOf(toUtf8(text.replace('"JWT"', '"JWS"')))).toBe('shape-value');
    expect(await codeOf(toUtf8(text.replace('GPU-0', 'GPU-00')))).toBe('shape-value');
    expect(await codeOf(toUtf8(`[${text}]`))).toBe('shape-value');
    expect(await codeOf(new Uint8Array(256 * 1024 + 1))).toBe('nras-size');
    expect(await codeOf(toUtf8(text.replace('.', '..')))).toBe('nras-malformed');
    expect(await codeOf(toUtf8('['.repeat(10_000)))).toBe('nras-malformed');
  });

  it('NT-2: a claim that stands there twice, or a number in another spelling, is refused', async () => {
    const payload = JSON.stringify(goodGpu);
    const withPayload = (changed: string): Uint8Array =>
      answerOver(signer, { 'GPU-0': signer.token(Buffer.from(changed).toString('base64url')) });
    expect(await codeOf(withPayload(payload))).toBe('accepted');
    const twice = payload.replace('"measres"', '"measres":"fail","measres"');
    expect(await codeOf(withPayload(twice))).toBe('nras-malformed');
    expect(await codeOf(withPayload(payload.replace(/"iat":(\d+)/, '"iat":$1.0')))).toBe('nras-malformed');
  });
});

describe('tokens', () => {
  it('NT-3: of another algorithm are refused, wherever they stand', async () => {
    for (const alg of ['none', 'HS256', 'RS256', 'ES256', 'ES512']) {
      const header = { kid: signer.keyId, alg };
      const devices = { 'GPU-0': signer.token(goodGpu, header) };
      expect([alg, await codeOf(answerOver(signer, devices))]).toEqual([alg, 'nras-algorithm']);
    }
    const more = { kid: signer.keyId, alg: 'ES384', jku: 'https://example.org' };
    expect(await codeOf(answerOver(signer, { 'GPU-0': signer.token(goodGpu, more) }))).toBe('shape-member');
    const nameless = answerOver(signer, { 'GPU-0': signer.token(goodGpu, { alg: 'ES384' }) });
    expect(await codeOf(nameless)).toBe('shape-member');
  });

  it('NT-4: are those that the overall token vouches for', async () => {
    const token = signer.token(goodGpu);
    const text = new TextDecoder().decode(answerOver(signer, { 'GPU-0': token }));
    const again = signer.token({ ...goodGpu, jti: 'two' });
    expect(await codeOf(toUtf8(text.replace(token, again)))).toBe('nras-submodules');
    expect(await codeOf(toUtf8(text.replace(/\{"GPU-0".*\}/, '{}')))).toBe('nras-submodules');
    const added = text.replace('{"GPU-0":', `{"GPU-1":"${token}","GPU-0":`);
    expect(await codeOf(toUtf8(added), { evidence: [gpu, gpu] })).toBe('nras-submodules');
    expect(await codeOf(answerOver(signer, {}), { evidence: [] })).toBe('nras-submodules');
    const digests = { submods: { 'GPU-0': ['DIGEST', ['SHA256', '00'.repeat(32)]] } };
    expect(await codeOf(answerOf({}, digests))).toBe('shape-value');
  });

  it('NT-6: signed by another key are refused', async () => {
    expect(await codeOf(answerOver(other, { 'GPU-0': signer.token(goodGpu) }))).toBe('nras-signature');
    expect(await codeOf(answerOver(signer, { 'GPU-0': other.token(goodGpu) }))).toBe('nras-signature');
    const token = signer.token(goodGpu);
    const short = token.slice(0, token.lastIndexOf('.') + 5);
    expect(await codeOf(answerOver(signer, { 'GPU-0': short }))).toBe('nras-signature');
  });

  it('NT-7: of another issuer are refused', async () => {
    const iss = 'https://nras.attestation-stg.nvidia.com';
    expect(await codeOf(answerOf({ iss }))).toBe('nras-issuer');
    expect(await codeOf(answerOf({}, { iss }))).toBe('nras-issuer');
  });

  it('NT-8: that are not valid now, or for longer than an hour, are refused', async () => {
    expect(await codeOf(answerOf({ nbf: NRAS_TIME + 60 }))).toBe('accepted');
    expect(await codeOf(answerOf({ nbf: NRAS_TIME + 61 }))).toBe('nras-time');
    expect(await codeOf(answerOf({ iat: NRAS_TIME + 61, exp: NRAS_TIME + 3600 }))).toBe('nras-time');
    expect(await codeOf(answerOf({ exp: NRAS_TIME + 1 }))).toBe('accepted');
    expect(await codeOf(answerOf({}, { exp: NRAS_TIME }))).toBe('nras-time');
    expect(await codeOf(answerOf({}, { exp: NRAS_TIME + 3591 }))).toBe('nras-time');
  });

  it('NT-9: about another nonce are refused', async () => {
    const eat_nonce = '00'.repeat(32);
    expect(await codeOf(answerOf({ eat_nonce }))).toBe('nras-nonce');
    expect(await codeOf(answerOf({}, { eat_nonce }))).toBe('nras-nonce');
    expect(await codeOf(answerOf(), { nonce: new Uint8Array(32) })).toBe('nras-nonce');
    expect(await codeOf(answerOf({ eat_nonce: '00' }))).toBe('shape-value');
  });
});

describe('results', () => {
  it('NT-10: a device that failed is refused under a good overall result', async () => {
    const devices = { 'GPU-0': signer.token(goodGpu), 'GPU-1': signer.token(failedDevice) };
    expect(await codeOf(answerOver(signer, devices), { evidence: [gpu, gpu] })).toBe('nras-device-failed');
    const both = { ...goodGpu, ...failedDevice };
    expect(await codeOf(answerOver(signer, { 'GPU-0': signer.token(both) }))).toBe('shape-member');
  });

  it('NT-10: a negative overall result is refused, whatever the devices say', async () => {
    expect(await codeOf(answerOf({}, { 'x-nvidia-overall-att-result': false }))).toBe('nras-overall');
  });

  it('NT-11: every result of a device has to be the one of a good device', async () => {
    const bad = (value: unknown): unknown => {
      if (value === true) return false;
      if (value === null) return 'a warning';
      return typeof value === 'string'
        ? 'other'
        : { ...(value as object), 'x-nvidia-cert-ocsp-status': 'revoked' };
    };
    const told = ['iss', 'iat', 'nbf', 'exp', 'jti', 'eat_nonce', 'ueid', 'hwmodel'];
    const results = Object.entries(goodGpu).filter(
      ([name]) => !told.includes(name) && !name.endsWith('-version'),
    );
    expect(results).toHaveLength(24);
    for (const [name, value] of results) {
      expect([name, await codeOf(answerOf({ [name]: bad(value) }))]).toEqual([name, 'nras-device-claims']);
    }
  });

  it('NT-12: claims that are not known, or missing, are refused', async () => {
    expect(await codeOf(answerOf({ 'x-nvidia-gpu-mode': 'devtools' }))).toBe('shape-member');
    expect(await codeOf(answerOf({ secboot: undefined }))).toBe('shape-member');
    expect(await codeOf(answerOf({}, { 'x-nvidia-ver': '4.0' }))).toBe('shape-value');
    expect(await codeOf(answerOf({}, { extra: 1 }))).toBe('shape-member');
    const chain = { 'x-nvidia-gpu-driver-rim-cert-chain': { 'x-nvidia-cert-status': 'valid' } };
    expect(await codeOf(answerOf(chain))).toBe('shape-member');
  });

  it('NT-13: the devices are those of the evidence, each once', async () => {
    const second: NrasEvidence = { ...gpu, leafSerialNumber: Uint8Array.of(1, 3) };
    const pair = (first: object, next: object): Uint8Array =>
      answerOver(signer, {
        'GPU-0': signer.token({ ...goodGpu, ...first }),
        'GPU-1': signer.token({ ...goodGpu, ...next }),
      });
    expect(await codeOf(pair({}, { ueid: '259' }), { evidence: [second, gpu] })).toBe('accepted');
    expect(await codeOf(pair({}, { ueid: '260' }), { evidence: [gpu, second] })).toBe('nras-other-device');
    expect(await codeOf(pair({}, {}), { evidence: [gpu, gpu] })).toBe('nras-other-device');
    expect(await codeOf(pair({}, { ueid: '259' }))).toBe('nras-device-count');
    expect(await codeOf(answerOf(), { evidence: [gpu, second] })).toBe('nras-device-count');
    expect(await codeOf(answerOf({ 'x-nvidia-gpu-driver-version': '535.1' }))).toBe('nras-other-device');
    expect(await codeOf(answerOf({ 'x-nvidia-gpu-vbios-version': '96.0' }))).toBe('nras-other-device');
    expect(await codeOf(answerOf({ ueid: '0258' }))).toBe('shape-value');
  });
});

describe('the keys of the service', () => {
  const withKeys = (...keys: readonly Readonly<Record<string, unknown>>[]): Promise<string> =>
    codeOf(answerOf(), { keys: keySet(...keys) });

  it('NT-5: a key is named once, and vouched for', async () => {
    expect(await withKeys(signer.jwk({ kid: 'another' }))).toBe('nras-key-unknown');
    expect(await withKeys(signer.jwk(), other.jwk())).toBe('nras-key-unknown');
    expect(await withKeys(signer.jwk(), other.jwk({ kid: 'another' }))).toBe('accepted');
    expect(await withKeys(signer.jwk({ use: 'sig', alg: 'ES384' }))).toBe('accepted');
    expect(await withKeys(signer.jwk({ x5c: undefined }))).toBe('nras-key-certificate');
    expect(await withKeys(signer.jwk({ x5c: other.jwk()['x5c'] }))).toBe('nras-key-certificate');
    const { x, y } = other.jwk();
    for (const change of [{ x, y }, { x }, { y }]) {
      expect(await withKeys(signer.jwk(change))).toBe('nras-key-certificate');
    }
  });

  it('NT-5: its certificate leads to an anchor for attestation results, and is valid', async () => {
    const answer = answerOf();
    expect(await codeOf(answer, { anchors: [] })).toBe('path-untrusted');
    expect(await codeOf(answer, { anchors: [other.anchor()] })).toBe('path-untrusted');
    expect(await codeOf(answer, { anchors: [signer.anchor({ purpose: 'endorsements' })] })).toBe(
      'path-untrusted',
    );
    expect(await codeOf(answer, { anchors: [signer.anchor({ purpose: 'reference-values' })] })).toBe(
      'path-untrusted',
    );
    expect(await codeOf(answer, { time: NRAS_TIME + 2 * 86_400 })).toBe('path-validity');
    const leafOnly = signer.jwk({ x5c: [Buffer.from(signer.leaf).toString('base64')] });
    expect(await withKeys(leafOnly)).toBe('path-untrusted');
    const authority = signer.jwk({ x5c: [Buffer.from(signer.intermediate).toString('base64')] });
    expect(await withKeys(authority)).toBe('nras-key-certificate');
  });

  it('W9: simulated keys make simulated claims', async () => {
    const verdict = await verifyNrasAnswer(
      answerOf(),
      inputs({ anchors: [signer.anchor({ simulated: true })] }),
    );
    expect(verdict.outcome === 'accepted' && verdict.claims.simulated).toBe(true);
  });

  it('NT-2: a key set is read strictly', async () => {
    expect(await withKeys(signer.jwk({ kty: 'RSA' }))).toBe('shape-value');
    expect(await withKeys(signer.jwk({ d: 'secret' }))).toBe('shape-member');
    expect(await withKeys()).toBe('shape-value');
    const key = JSON.stringify(signer.jwk());
    const twice = toUtf8(`{"keys":[${key.replace('"kid"', '"kid":"a","kid"')}]}`);
    expect(await codeOf(answerOf(), { keys: twice })).toBe('nras-malformed');
  });
});

describe('the readers', () => {
  it('NT-2: no bytes make them fail otherwise than by a refusal', () => {
    const attempt = (read: () => unknown): string => {
      try {
        read();
        return 'read';
      } catch (thrown) {
        return (thrown as Error).name;
      }
    };
    const [answer, keys] = [answerOf(), keySet(signer.jwk())];
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), (position, mask) => {
        for (const [bytes, read] of [
          [answer, readNrasAnswer],
          [keys, readKeySet],
        ] as const) {
          const altered = bytes.slice();
          const at = position % bytes.length;
          altered[at] = (altered[at] ?? 0) ^ mask;
          expect(attempt(() => read(altered, 'bytes'))).toMatch(/^(?:read|RefusalError)$/);
        }
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(attempt(() => readNrasAnswer(toUtf8(text), 'bytes'))).toBe('RefusalError');
        expect(attempt(() => readKeySet(toUtf8(text), 'bytes'))).toBe('RefusalError');
      }),
    );
  });
});
