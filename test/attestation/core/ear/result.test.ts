import { describe, expect, it } from 'vitest';

import type { JsonValue } from '../../../../attestation/core/canonical-json.ts';
import type { AnyDeviceClass, DeviceClaims } from '../../../../attestation/core/device-class.ts';
import {
  attestationResultClaims,
  deviceResult,
  policyIdentifier,
  readAttestationResult,
} from '../../../../attestation/core/ear/result.ts';
import type { AttestationResult, ClaimedResult } from '../../../../attestation/core/ear/result.ts';
import { tierOfVector, worstTier } from '../../../../attestation/core/ear/trust-vector.ts';
import { refusalOf } from '../../../support/refusal-code.ts';

const digest = (byte: string): string => byte.repeat(32);
const NONCE_TEXT = 'n'.repeat(43);

const RESULT: AttestationResult = {
  issuedAt: 1000,
  expiresAt: 2000,
  build: 'weightgate 1',
  nonce: digest('0a'),
  devices: [
    {
      class: 'gpu',
      identity: digest('0b'),
      model: 'GH100',
      simulated: false,
      attachment: 'software-asserted',
      trustVector: { hardware: 2, 'runtime-opaque': 32 },
    },
    {
      class: 'tpm',
      identity: digest('0c'),
      model: 'a maker',
      simulated: true,
      attachment: null,
      trustVector: { hardware: 97 },
    },
  ],
  decision: {
    mode: 'production',
    lab: 'lab-one',
    manifestDigest: digest('01'),
    agentKeyDigest: digest('02'),
    evidenceDigest: digest('03'),
    releasePolicyDigest: digest('04'),
    referenceValuesDigest: digest('05'),
    logOrigin: 'log.example',
    logIndex: 7,
    leafHash: digest('06'),
  },
};

type Claims = Readonly<Record<string, JsonValue>>;
const CLAIMS = attestationResultClaims(RESULT, NONCE_TEXT) as Claims;
const GPU = `gpu/${digest('0b')}`;
const TPM = `tpm/${digest('0c')}`;
const readNonce = (text: string, field: string): string => `${field} ${text}`;
const read = (claims: JsonValue): ClaimedResult => readAttestationResult(claims, readNonce);

describe('the tiers of AR4SI', () => {
  it.each([
    [0, 'none'],
    [1, 'none'],
    [2, 'affirming'],
    [31, 'affirming'],
    [32, 'warning'],
    [95, 'warning'],
    [96, 'contraindicated'],
    [127, 'contraindicated'],
  ])('AR-4: %i is %s', (value, tier) => {
    expect(tierOfVector({ hardware: value })).toBe(tier);
  });

  it('AR-4: the worst one counts', () => {
    expect(tierOfVector({ hardware: 2, executables: 40, configuration: 1 })).toBe('warning');
    expect(tierOfVector({ hardware: 2, executables: 0 })).toBe('none');
    expect(tierOfVector({})).toBe('none');
    expect(worstTier([])).toBe('none');
    expect(worstTier(['affirming', 'affirming'])).toBe('affirming');
    expect(worstTier(['warning', 'contraindicated', 'none'])).toBe('contraindicated');
  });
});

describe('the result on one device', () => {
  const vector = { hardware: 2, executables: 3 };
  const deviceClass = {
    modelOf: ({ identity }: DeviceClaims) => `model of ${identity}`,
    trustVectorOf: () => vector,
  } as unknown as AnyDeviceClass;
  const claims: DeviceClaims = { class: 'gpu', identity: digest('0b'), simulated: false };

  it('AR-3: is what its class says of it', () => {
    expect(deviceResult(deviceClass, claims)).toEqual({
      class: 'gpu',
      identity: digest('0b'),
      model: `model of ${digest('0b')}`,
      simulated: false,
      attachment: null,
      trustVector: vector,
    });
    const asserted = deviceResult(deviceClass, { ...claims, attachment: 'software-asserted' });
    expect(asserted.attachment).toBe('software-asserted');
  });

  it('AR-8: never affirms simulated hardware', () => {
    const { trustVector } = deviceResult(deviceClass, { ...claims, simulated: true });
    expect(trustVector).toEqual({ hardware: 97, executables: 3 });
  });
});

describe('the claims of a result', () => {
  it('AR-1, AR-3, AR-5: are those of the table', () => {
    expect(CLAIMS).toEqual({
      eat_profile: 'tag:ietf.org,2026:rats/ear#04',
      iat: 1000,
      exp: 2000,
      eat_nonce: NONCE_TEXT,
      ear_verifier_id: { developer: 'https://weightgate.dev', build: 'weightgate 1' },
      ear_status: 'contraindicated',
      submods: {
        [GPU]: {
          ear_status: 'warning',
          ear_trustworthiness_vector: { hardware: 2, 'runtime-opaque': 32 },
          ear_appraisal_policy_ids: [`sha256:${digest('04')}`],
          ear_verifier_claims: { model: 'GH100', simulated: false, attachment: 'software-asserted' },
        },
        [TPM]: {
          ear_status: 'contraindicated',
          ear_trustworthiness_vector: { hardware: 97 },
          ear_appraisal_policy_ids: [`sha256:${digest('04')}`],
          ear_verifier_claims: { model: 'a maker', simulated: true, attachment: null },
        },
      },
      'weightgate.dev/decision': { ...RESULT.decision },
    });
    expect(policyIdentifier('ab')).toBe('sha256:ab');
  });

  it('AR-1: read back as they were written', () => {
    expect(read(CLAIMS)).toEqual({
      ...RESULT,
      nonce: `result.eat_nonce ${NONCE_TEXT}`,
      status: 'contraindicated',
      statuses: ['warning', 'contraindicated'],
      policies: [`sha256:${digest('04')}`, `sha256:${digest('04')}`],
    });
  });
});

describe('claims of another form', () => {
  const submods = CLAIMS['submods'] as Claims;
  const appraisal = (changes: Claims): Claims => ({
    submods: { [GPU]: { ...(submods[GPU] as Claims), ...changes } },
  });
  const deviceClaims = (changes: Claims): Claims =>
    appraisal({ ear_verifier_claims: { model: 'm', simulated: false, attachment: null, ...changes } });
  const decision = (changes: Claims): Claims => ({
    'weightgate.dev/decision': { ...RESULT.decision, ...changes },
  });
  const verifier = { developer: 'https://weightgate.dev', build: 'b' };
  const WEIGHTED = 'result.weightgate.dev/decision';

  it.each<[string, Claims, string]>([
    ['another profile', { eat_profile: 'tag:ietf.org,2026:rats/ear#05' }, 'result.eat_profile'],
    ['a negative time', { iat: -1 }, 'result.iat'],
    ['a time far away', { exp: 2 ** 40 + 1 }, 'result.exp'],
    ['a short nonce', { eat_nonce: 'n'.repeat(42) }, 'result.eat_nonce'],
    ['a long nonce', { eat_nonce: 'n'.repeat(44) }, 'result.eat_nonce'],
    ['a nonce in other characters', { eat_nonce: `${'n'.repeat(42)}+` }, 'result.eat_nonce'],
    [
      'another verifier',
      { ear_verifier_id: { ...verifier, developer: 'another' } },
      'result.ear_verifier_id.developer',
    ],
    ['no build', { ear_verifier_id: { ...verifier, build: '' } }, 'result.ear_verifier_id.build'],
    [
      'a long build',
      { ear_verifier_id: { ...verifier, build: 'b'.repeat(201) } },
      'result.ear_verifier_id.build',
    ],
    [
      'a build of two lines',
      { ear_verifier_id: { ...verifier, build: 'b\nb' } },
      'result.ear_verifier_id.build',
    ],
    ['an unknown status', { ear_status: 'good' }, 'result.ear_status'],
    ['a label with more before it', { submods: { [`x ${GPU}`]: submods[GPU] ?? null } }, 'result.submods'],
    ['a label with more behind it', { submods: { [`${GPU}0`]: submods[GPU] ?? null } }, 'result.submods'],
    ['a label without a class', { submods: { [GPU.slice(3)]: submods[GPU] ?? null } }, 'result.submods'],
    ['an unknown status of a device', appraisal({ ear_status: 'good' }), `result.submods.${GPU}.ear_status`],
    [
      'an unknown trust claim',
      appraisal({ ear_trustworthiness_vector: { 'my-hardware': 1 } }),
      `result.submods.${GPU}.ear_trustworthiness_vector`,
    ],
    [
      'a trust claim above 127',
      appraisal({ ear_trustworthiness_vector: { hardware: 128 } }),
      `result.submods.${GPU}.ear_trustworthiness_vector.hardware`,
    ],
    [
      'a negative trust claim',
      appraisal({ ear_trustworthiness_vector: { hardware: -1 } }),
      `result.submods.${GPU}.ear_trustworthiness_vector.hardware`,
    ],
    [
      'no policy',
      appraisal({ ear_appraisal_policy_ids: [] }),
      `result.submods.${GPU}.ear_appraisal_policy_ids`,
    ],
    [
      'two policies',
      appraisal({ ear_appraisal_policy_ids: ['a', 'b'] }),
      `result.submods.${GPU}.ear_appraisal_policy_ids`,
    ],
    ['no model', deviceClaims({ model: '' }), `result.submods.${GPU}.ear_verifier_claims.model`],
    [
      'a word for simulated',
      deviceClaims({ simulated: 'no' }),
      `result.submods.${GPU}.ear_verifier_claims.simulated`,
    ],
    [
      'another attachment',
      deviceClaims({ attachment: 'soldered' }),
      `result.submods.${GPU}.ear_verifier_claims.attachment`,
    ],
    ['another mode', decision({ mode: 'test' }), `${WEIGHTED}.mode`],
    ['no lab', decision({ lab: '' }), `${WEIGHTED}.lab`],
    ['a short digest', decision({ leafHash: 'ab' }), `${WEIGHTED}.leafHash`],
    ['a negative index', decision({ logIndex: -1 }), `${WEIGHTED}.logIndex`],
  ])('AR-1: with %s are refused', (_, changes, field) => {
    expect(refusalOf(() => read({ ...CLAIMS, ...changes }))).toMatchObject({ code: 'shape-value', field });
  });

  it('AR-1: with a member more or less are refused', () => {
    expect(refusalOf(() => read({ ...CLAIMS, note: 1 })).code).toBe('shape-member');
    for (const name of Object.keys(CLAIMS)) {
      const { [name]: _, ...rest } = CLAIMS;
      expect(refusalOf(() => read(rest))).toMatchObject({ code: 'shape-member', found: `no ${name}` });
    }
  });

  it('AR-1: are taken at the ends of their ranges', () => {
    const vector = { hardware: 127, executables: 0 };
    const far = { iat: 0, exp: 2 ** 40, ...appraisal({ ear_trustworthiness_vector: vector }) };
    expect(read({ ...CLAIMS, ...far })).toMatchObject({ issuedAt: 0, expiresAt: 2 ** 40 });
    expect(read({ ...CLAIMS, ...far }).devices).toMatchObject([{ trustVector: vector }]);
    const long = { ear_verifier_id: { ...verifier, build: '~'.repeat(200) } };
    expect(read({ ...CLAIMS, ...long, ...decision({ logIndex: 0 }) }).decision.logIndex).toBe(0);
  });

  it('AR-3: name 32 devices at most', () => {
    const labelled = (count: number): Claims => ({
      submods: Object.fromEntries(
        Array.from({ length: count }, (_, i) => [
          `gpu/${i.toString(16).padStart(64, '0')}`,
          submods[GPU] ?? null,
        ]),
      ),
    });
    expect(read({ ...CLAIMS, ...labelled(32) }).devices).toHaveLength(32);
    expect(refusalOf(() => read({ ...CLAIMS, ...labelled(33) })).field).toBe('result.submods');
  });
});
