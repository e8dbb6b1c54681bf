import { createHash, createPublicKey, verify } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import {
  attestationResultClaims,
  deviceResult,
  type AttestationResult,
} from '../../attestation/core/ear/result.ts';
import { tierOfVector, worstTier } from '../../attestation/core/ear/trust-vector.ts';
import { exampleDeviceClass } from '../../attestation/example/device-class.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import { tpmDeviceClass } from '../../attestation/tpm/device-class.ts';
import { signAttestationResult, verifyAttestationResult } from '../../src/platform/attestation-result.ts';
import { readToken, signToken } from '../../src/platform/json-web-token.ts';
import { digestOf, signerOf } from '../support/governance.ts';
import { installPythonPackages, type PythonPackages } from '../support/python-packages.ts';
import { refusalCode } from '../support/refusal-code.ts';

const signer = signerOf('log');
const { publicKey } = signer;
const ORIGIN = 'log.example/evaluation';
const ISSUED = 1_800_000_000;
const vector = { hardware: 2, executables: 3, 'runtime-opaque': 2 } as const;

const result: AttestationResult = {
  issuedAt: ISSUED,
  expiresAt: ISSUED + 3600,
  build: 'weightgate 1',
  nonce: digestOf('nonce'),
  // In the order of their labels, in which they are read.
  devices: [
    {
      class: 'nvidia-gpu',
      identity: digestOf('gpu'),
      model: 'GH100',
      simulated: false,
      attachment: 'software-asserted',
      trustVector: { hardware: 2 },
    },
    {
      class: 'sev-snp',
      identity: digestOf('chip'),
      model: 'Genoa',
      simulated: false,
      attachment: null,
      trustVector: vector,
    },
  ],
  decision: {
    mode: 'evaluation',
    lab: 'lab-one',
    manifestDigest: digestOf('manifest'),
    agentKeyDigest: digestOf('agent key'),
    evidenceDigest: digestOf('evidence'),
    releasePolicyDigest: digestOf('policy'),
    referenceValuesDigest: digestOf('reference values'),
    logOrigin: ORIGIN,
    logIndex: 7,
    leafHash: digestOf('leaf'),
  },
};

const expectations = { publicKey, logOrigin: ORIGIN, time: ISSUED + 1, nonce: result.nonce };

async function outcome(token: string, changes: Partial<typeof expectations> = {}): Promise<string> {
  const verdict = await verifyAttestationResult(token, { ...expectations, ...changes });
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals.map(({ code }) => code).join(' ');
}

type Claims = Readonly<Record<string, JsonValue>>;
const claims = attestationResultClaims(
  result,
  Buffer.from(result.nonce, 'hex').toString('base64url'),
) as Claims;

/** A token with other claims, rightly signed. */
const signedWith = (changes: Claims): Promise<string> => signToken({ ...claims, ...changes }, signer);

let token: string;
let folder: string;
let tool: PythonPackages;
beforeAll(async () => {
  token = await signAttestationResult(result, signer);
  folder = await mkdtemp(join(tmpdir(), 'weightgate-test-'));
  tool = await installPythonPackages(join(folder, 'python'), ['pyjwt[crypto]==2.10.1']);
}, 400_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('an attestation result', () => {
  it('AR-1 to AR-6: is read as it was written', async () => {
    const verdict = await verifyAttestationResult(token, expectations);
    expect(verdict).toMatchObject({ outcome: 'accepted', claims: result });
    expect(claims).toMatchObject({
      eat_profile: 'tag:ietf.org,2026:rats/ear#04',
      ear_status: 'affirming',
      submods: {
        [`nvidia-gpu/${digestOf('gpu')}`]: {
          ear_status: 'affirming',
          ear_trustworthiness_vector: { hardware: 2 },
          ear_appraisal_policy_ids: [`sha256:${digestOf('policy')}`],
          ear_verifier_claims: { model: 'GH100', simulated: false, attachment: 'software-asserted' },
        },
      },
    });
  });

  it('AR-2, AR-9, W12: the platform verifies it by hand, from RFC 7515 and RFC 8037 alone', () => {
    const [header = '', payload = '', signature = ''] = token.split('.');
    const x = Buffer.from(publicKey).toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    const signed = Buffer.from(`${header}.${payload}`);
    expect(verify(null, signed, key, Buffer.from(signature, 'base64url'))).toBe(true);
    const read = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString());
    expect(read(payload)).toEqual(claims);
    expect(read(header)).toEqual({
      alg: 'EdDSA',
      kid: createHash('sha256').update(publicKey).digest('hex'),
      typ: 'eat+jwt',
    });
    expect(signed.includes('\n')).toBe(false);
  });

  it('W12: PyJWT verifies it, and refuses it when altered', async (context) => {
    if (tool.missing !== undefined) context.skip(tool.missing);
    const x = Buffer.from(publicKey).toString('base64url');
    const program = [
      'import jwt, sys, json',
      `key = jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": "${x}", "alg": "EdDSA"})`,
      'claims = jwt.decode(open(sys.argv[1]).read(), key, algorithms=["EdDSA"], options={"verify_exp": False, "verify_iat": False})',
      'print(json.dumps(claims))',
    ].join('\n');
    const altered = token.replace(/\.([^.]*)\./, (_, payload: string) => `.${payload.slice(0, -4)}AAAA.`);
    const files = [join(folder, 'good'), join(folder, 'altered')] as const;
    await Promise.all([writeFile(files[0], token), writeFile(files[1], altered)]);
    const good = await tool.python('-c', program, files[0]);
    expect(good.text).toMatch(/^\{/);
    expect(JSON.parse(good.text)).toEqual(claims);
    expect((await tool.python('-c', program, files[1])).text).toContain('InvalidSignatureError');
  });

  it('AR-11: is refused for another key, origin, challenge and time', async () => {
    expect(await outcome(token)).toBe('accepted');
    expect(await outcome(token, { publicKey: signerOf('other').publicKey })).toBe('ear-key');
    expect(await outcome(token, { logOrigin: 'log.example' })).toBe('ear-origin');
    expect(await outcome(token, { nonce: digestOf('another nonce') })).toBe('ear-nonce');
    expect(await outcome(token, { time: ISSUED - 1 })).toBe('ear-time');
    expect(await outcome(token, { time: ISSUED })).toBe('accepted');
    expect(await outcome(token, { time: ISSUED + 3600 })).toBe('ear-time');
    const { nonce: _, ...unasked } = expectations;
    const verdict = await verifyAttestationResult(token, { ...unasked, nonce: undefined });
    expect(verdict.outcome).toBe('accepted');
  });

  it('AR-11: nothing of it can be altered', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(token.length - 1),
        fc.constantFrom('A', 'Q', '-', '.', '\n'),
        async (at, other) => {
          if (token[at] === other) return;
          const altered = token.slice(0, at) + other + token.slice(at + 1);
          expect(await outcome(altered)).not.toBe('accepted');
        },
      ),
      { numRuns: 200 },
    );
  });

  it('AR-2: other algorithms, other spellings and other forms are refused', async () => {
    const [header = '', payload = '', signature = ''] = token.split('.');
    const encoded = (document: unknown): string =>
      Buffer.from(JSON.stringify(document)).toString('base64url');
    const kid = toHex(createHash('sha256').update(publicKey).digest());
    const forms = [
      [`${encoded({ alg: 'none', kid, typ: 'eat+jwt' })}.${payload}.`, 'shape-value'],
      [`${encoded({ alg: 'HS256', kid, typ: 'eat+jwt' })}.${payload}.${signature}`, 'shape-value'],
      [`${encoded({ alg: 'EdDSA', jku: 'x', kid, typ: 'eat+jwt' })}.${payload}.${signature}`, 'shape-member'],
      [`${encoded({ kid, alg: 'EdDSA', typ: 'eat+jwt' })}.${payload}.${signature}`, 'json-not-canonical'],
      [`${header}.${payload}.${signature}.`, 'token-malformed'],
      [`${header}.${payload}`, 'token-malformed'],
      [`${header}.${payload}.${signature}=`, 'token-malformed'],
      [`${header}.${payload}.${signature}\n`, 'token-malformed'],
      [`${header}.${payload}.`, 'ear-signature'],
      ['', 'token-malformed'],
    ] as const;
    for (const [text, code] of forms) expect([text, await outcome(text)]).toEqual([text, code]);
    const long = 'A'.repeat(1000);
    expect(refusalCode(() => readToken(`${long}.${long}.${long}`, { maxBytes: 100 }, 't'))).toBe(
      'token-malformed',
    );
  });

  it('AR-1, AR-4, AR-5: claims that contradict each other are refused, although they are signed', async () => {
    const submods = claims['submods'] as Readonly<Record<string, Claims>>;
    const [label = ''] = Object.keys(submods);
    const withDevice = (changes: Claims): Promise<string> =>
      signedWith({ submods: { ...submods, [label]: { ...submods[label], ...changes } } });
    const cases: readonly (readonly [Promise<string>, string])[] = [
      [signedWith({ ear_status: 'warning' }), 'ear-status'],
      [withDevice({ ear_status: 'none' }), 'ear-status'],
      [withDevice({ ear_trustworthiness_vector: { hardware: 97 } }), 'ear-status'],
      [withDevice({ ear_appraisal_policy_ids: [`sha256:${digestOf('other')}`] }), 'ear-policy'],
      [withDevice({ ear_trustworthiness_vector: { hardware: 128 } }), 'shape-value'],
      [withDevice({ ear_trustworthiness_vector: { beauty: 2 } }), 'shape-value'],
      [signedWith({ eat_profile: 'tag:ietf.org,2026:rats/ear#03' }), 'shape-value'],
      [signedWith({ note: 1 }), 'shape-member'],
      [signedWith({ submods: {} }), 'ear-status ear-policy'],
      [signedWith({ eat_nonce: 'short' }), 'shape-value'],
    ];
    for (const [signed, code] of cases) expect(await outcome(await signed)).toBe(code);
  });
});

describe('trustworthiness', () => {
  it('AR-4: a status is the worst tier of what is claimed', () => {
    expect(tierOfVector(vector)).toBe('affirming');
    expect(tierOfVector({})).toBe('none');
    expect(tierOfVector({ hardware: 2, executables: 1 })).toBe('none');
    expect(tierOfVector({ hardware: 31, executables: 32 })).toBe('warning');
    expect(tierOfVector({ hardware: 95, configuration: 96 })).toBe('contraindicated');
    expect(worstTier(['affirming', 'contraindicated', 'none'])).toBe('contraindicated');
    expect(worstTier([])).toBe('none');
  });

  it('AR-8, W9: no class affirms simulated hardware, and every class affirms what is real', () => {
    const classes = [
      [tpmDeviceClass, 'swtpm'],
      [sevSnpDeviceClass, 'Genoa'],
      [exampleDeviceClass, 'WGEX'],
      [nvidiaGpuDeviceClass, 'GH100'],
      [nvswitchDeviceClass, 'LS_10'],
    ] as const;
    for (const [deviceClass, model] of classes) {
      const facts = { model, productLine: model, chip: model, mode: 'spt' };
      const of = (simulated: boolean) => {
        const own = { ...facts, class: deviceClass.name, identity: digestOf('device'), simulated };
        return deviceResult(deviceClass, own);
      };
      expect(of(false)).toMatchObject({ model, simulated: false });
      expect([deviceClass.name, tierOfVector(of(false).trustVector)]).toEqual([
        deviceClass.name,
        'affirming',
      ]);
      expect(tierOfVector(of(true).trustVector)).toBe('contraindicated');
    }
  });

  it('AR-3: how a device is attached is told', () => {
    const own = { class: 'example', identity: digestOf('device'), simulated: false };
    expect(deviceResult(exampleDeviceClass as never, own).attachment).toBeNull();
    const attached = { ...own, attachment: 'software-asserted' } as const;
    expect(deviceResult(exampleDeviceClass as never, attached).attachment).toBe('software-asserted');
  });

  it('AR-1: the largest machine fits into a token', async () => {
    const [device] = result.devices;
    const devices = Array.from({ length: 32 }, (_, i) => ({ ...device!, identity: digestOf(`device ${i}`) }));
    const largest = await signAttestationResult({ ...result, devices }, signer);
    expect(await outcome(largest)).toBe('accepted');
    expect(encodeCanonicalJson(largest).length).toBeLessThan(64 * 1024);
  });
});
