/** Answers of NVIDIA's service, and every mutation of them that the manifest of the shared vectors describes. */

import { describe, expect, it } from 'vitest';

import { fromHex } from '../../../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../../../attestation/core/certificate-path.ts';
import { judge, type Verdict } from '../../../../attestation/core/verdict.ts';
import {
  givenKeys,
  publicKeyOf,
  readKeySet,
  type TokenKey,
} from '../../../../attestation/nvidia-gpu/nras/key-set.ts';
import {
  judgeNrasAnswer,
  verifyNrasAnswer,
  type NrasClaims,
  type NrasEvidence,
  type NrasQuestion,
} from '../../../../attestation/nvidia-gpu/nras/verify.ts';
import { openVectorFolder } from '../../../support/vector-folder.ts';
import {
  caseOf,
  contextText,
  fileOf,
  timeOf,
  vectorById,
  type NvidiaCase,
} from '../../../support/vector-nvidia-case.ts';
import { applyOperations } from '../../../support/vector-nvidia-edits.ts';
import { readNvidiaManifest } from '../../../support/vector-nvidia-manifest.ts';
import { vectorFolder, vectorsMissing } from '../../../support/vectors.ts';

const missing = vectorsMissing('nvidia');

/** Which check of the manifest a refusal is one of. */
const CHECKS: Readonly<Record<string, string>> = {
  'nras-malformed': 'shape',
  'shape-value': 'shape',
  'nras-algorithm': 'alg',
  'nras-key-unknown': 'kid',
  'nras-key-certificate': 'x5c',
  'nras-signature': 'signature',
  'nras-issuer': 'issuer',
  'nras-time': 'time',
  'nras-submodules': 'submods',
  'nras-nonce': 'nonce',
  'nras-overall': 'overall',
  'nras-device-failed': 'device_errors',
  'nras-device-claims': 'device_claims',
  'nras-device-count': 'device_count',
};

interface StatedDevice {
  readonly name: string;
  readonly ueid?: string;
  readonly driver?: string;
  readonly vbios?: string;
}

function leafSerialNumber(ueid: string): Uint8Array {
  return fromHex(BigInt(ueid).toString(16).padStart(40, '0'), 'ueid');
}

/** The devices that the manifest states, and others that nobody judged when the context expects more. */
function evidenceOf({ vector, context }: NvidiaCase): readonly NrasEvidence[] {
  const stated = (vector.parsed['submods'] ?? []) as readonly StatedDevice[];
  const devices = stated.map(({ name, ueid = '0', driver, vbios = '' }): NrasEvidence => ({
    kind: name.startsWith('SWITCH') ? 'switch' : 'gpu',
    leafSerialNumber: leafSerialNumber(ueid),
    driverVersion: driver,
    vbiosVersion: vbios,
  }));
  const other = {
    kind: 'gpu',
    leafSerialNumber: Uint8Array.of(1),
    driverVersion: '',
    vbiosVersion: '',
  } as const;
  const expected = Number(context['expected_devices']);
  return Array.from({ length: expected }, (_, i) => devices[i] ?? other);
}

function questionOf(subject: NvidiaCase): NrasQuestion {
  return {
    evidence: evidenceOf(subject),
    nonce: fromHex(contextText(subject, 'expected_nonce'), 'nonce'),
    issuer: contextText(subject, 'expected_issuer'),
    time: timeOf(subject),
  };
}

/** Where the manifest pins no authority, its keys are taken as they are: only then is anything else worth looking at. */
function verdictOn(subject: NvidiaCase): Promise<Verdict<NrasClaims>> {
  const { context } = subject;
  const [answer, keys] = [fileOf(subject, 'response'), fileOf(subject, 'jwks')];
  const question = questionOf(subject);
  const pin = context['pinned_intermediate_spki_sha256'];
  if (typeof pin === 'string') {
    const publicKeyDigest = fromHex(pin, 'pin');
    const anchor: TrustAnchor = {
      name: 'pin',
      purpose: 'attestation-results',
      publicKeyDigest,
      simulated: false,
    };
    return verifyNrasAnswer(answer, { ...question, keys, anchors: [anchor] });
  }
  const given = new Map(
    readKeySet(keys, 'jwks').keys.map((key): [string, TokenKey] => [
      key.kid,
      { publicKey: publicKeyOf(key), simulated: false },
    ]),
  );
  return judge((checks) => judgeNrasAnswer(answer, question, givenKeys(given), checks));
}

const codeOf = (verdict: Verdict<NrasClaims>): string =>
  verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;

describe.skipIf(missing !== undefined)(`answers of NVIDIA's service ${missing ?? ''}`, () => {
  const folder = missing === undefined ? openVectorFolder(vectorFolder('nvidia')) : undefined;
  const set = folder && { folder, manifest: readNvidiaManifest(folder.manifest) };
  const vectors = set?.manifest.vectors.filter((vector) => vector.kind === 'nras-eat') ?? [];
  const ids = new Set(vectors.map(({ id }) => id));
  const withKeys = vectors.filter(({ files }) => files.jwks !== undefined);

  it.each(withKeys)('$id: $expect.verdict', async (vector) => {
    if (set === undefined) throw new Error('no vectors');
    const verdict = await verdictOn(caseOf(set, vector));
    const { failing } = vector.expect;
    if (failing.length > 0) expect(failing).toContain(CHECKS[codeOf(verdict)]);
    else expect(codeOf(verdict)).toBe('accepted');
    if (verdict.outcome !== 'accepted') return;
    const { iat, exp, iss, version } = vector.parsed;
    expect(verdict.claims).toMatchObject({
      issuer: iss,
      issuedAt: iat,
      expiresAt: exp,
      claimsVersion: version,
    });
    const stated = vector.parsed['submods'] as readonly StatedDevice[];
    expect(verdict.claims.devices.map(({ name, ueid }) => ({ name, ueid }))).toEqual(
      expect.arrayContaining(stated.map(({ name, ueid }) => ({ name, ueid }))),
    );
  });

  it.each(vectors.filter((vector) => !withKeys.includes(vector)))(
    '$id is no answer of the service',
    async (vector) => {
      if (set === undefined) throw new Error('no vectors');
      const bytes = fileOf(caseOf(set, vector), 'response');
      const question = {
        evidence: [],
        nonce: new Uint8Array(32),
        issuer: '',
        time: 0,
        keys: bytes,
        anchors: [],
      };
      const keys = new TextEncoder().encode(
        '{"keys":[{"kty":"EC","crv":"P-384","kid":"k","x":"X","y":"X"}]}'.replaceAll('X', 'A'.repeat(64)),
      );
      expect(codeOf(await verifyNrasAnswer(bytes, { ...question, keys }))).toBe('shape-value');
      const whole = JSON.parse(new TextDecoder().decode(bytes)) as { readonly detached_eat: unknown };
      const inner = new TextEncoder().encode(JSON.stringify(whole.detached_eat));
      expect(vector.expect.failing).toContain(
        CHECKS[codeOf(await verifyNrasAnswer(inner, { ...question, keys }))],
      );
    },
  );

  it.each(set?.manifest.mutations.filter(({ base }) => ids.has(base)) ?? [])(
    '$id is refused',
    async (mutation) => {
      if (set === undefined) throw new Error('no vectors');
      expect(mutation.expect.verdict).toBe('reject');
      const mutant = applyOperations(caseOf(set, vectorById(set, mutation.base)), mutation.ops);
      expect(mutation.expect.must_fail).toContain(CHECKS[codeOf(await verdictOn(mutant))]);
    },
  );
});
