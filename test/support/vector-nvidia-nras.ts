/** Vectors of answers of NVIDIA's remote attestation service. */

import { sha256 } from '@noble/hashes/sha2.js';

import { fromUtf8, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { judge } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { nvidiaAnchors } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { readPemChain } from '../../attestation/nvidia-gpu/evidence.ts';
import { readNrasAnswer } from '../../attestation/nvidia-gpu/nras/answer.ts';
import { givenKeys, publicKeyOf, readKeySet } from '../../attestation/nvidia-gpu/nras/key-set.ts';
import type { ClaimedToken } from '../../attestation/nvidia-gpu/nras/token.ts';
import { judgeNrasAnswer, NRAS_ISSUER, verifyNrasAnswer } from '../../attestation/nvidia-gpu/nras/verify.ts';
import type { NrasEvidence, NrasQuestion } from '../../attestation/nvidia-gpu/nras/verify.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { withoutPadding } from '../../attestation/nvidia-gpu/spdm.ts';
import { caseOf, contextText, fileOf, timeOf } from './vector-nvidia-case.ts';
import type { CaseOf, NvidiaCase, NvidiaSet } from './vector-nvidia-case.ts';
import { kindOf, nonceOf, presentedDevices } from './vector-nvidia-devices.ts';
import type { PresentedEvidence } from './vector-nvidia-devices.ts';
import { membersLine, refusalsOf } from './vector-nvidia-judgement.ts';
import type { CheckTable, KindJudge, Members } from './vector-nvidia-judgement.ts';

const checks: CheckTable = {
  shape: ['nras-malformed', 'nras-size', 'shape-*', 'hex-malformed', 'base64-malformed', 'utf8-malformed'],
  alg: ['nras-algorithm'],
  kid: ['nras-key', 'nras-key-unknown'],
  x5c: ['nras-key-certificate', 'path-*', 'certificate-*'],
  signature: ['nras-signature'],
  issuer: ['nras-issuer'],
  time: ['nras-time'],
  submods: ['nras-submodules'],
  nonce: ['nras-nonce'],
  overall: ['nras-overall'],
  device_errors: ['nras-device-failed'],
  device_claims: ['nras-device-claims', 'nras-other-device'],
  device_count: ['nras-device-count'],
};

export const nrasJudge: KindJudge<CaseOf<'nras-eat'>> = {
  checks,
  refusals(subject) {
    return refusalsOf(() => {
      const answer = answerOf(subject);
      const pin = subject.context['pinned_intermediate_spki_sha256'];
      const keys = subject.files.get('jwks');
      if (typeof pin === 'string' && keys !== undefined) {
        const anchors = nvidiaAnchors.filter(({ publicKeyDigest }) => toHex(publicKeyDigest) === pin);
        return verifyNrasAnswer(answer, { ...questionOf(subject), keys, anchors });
      }
      // Without a pin there is no certificate of the key: it is given as known, and only its use is judged.
      return judge((checklist) =>
        judgeNrasAnswer(answer, questionOf(subject), givenKeys(keysOf(keys)), checklist),
      );
    });
  },
  async *facts(subject) {
    const {
      id,
      parsed,
      expect,
      ueid_equals_leaf_serial_of_evidence_with_same_index: stated,
    } = subject.vector;
    const options = { failing: expect.failing, table: checks };
    if (Object.keys(parsed).length > 0)
      yield await membersLine(`${id}#parsed`, parsed, () => answerMembers(subject, parsed), options);
    if (stated === undefined) return;
    const read = (): Members => ({ equal: isInFolder(subject) });
    yield await membersLine(`${id}#ueid`, { equal: stated }, read, options);
  },
};

/** The answer itself: NVIDIA's local verifier puts another object around it. */
function answerOf(subject: NvidiaCase): Uint8Array {
  const bytes = fileOf(subject, 'response');
  const document = JSON.parse(fromUtf8(bytes, 'response')) as { readonly detached_eat?: unknown };
  return document.detached_eat === undefined ? bytes : toUtf8(JSON.stringify(document.detached_eat));
}

function keysOf(jwks: Uint8Array | undefined): Parameters<typeof givenKeys>[0] {
  const keys = jwks === undefined ? [] : readKeySet(jwks, 'jwks').keys;
  return new Map(keys.map((key) => [key.kid, { publicKey: publicKeyOf(key), simulated: false }]));
}

function questionOf(subject: CaseOf<'nras-eat'>): NrasQuestion {
  if (subject.vector.context === undefined) {
    return { evidence: [], nonce: new Uint8Array(32), issuer: NRAS_ISSUER, time: 0 };
  }
  return {
    evidence: evidenceOf(subject),
    nonce: nonceOf(subject),
    issuer: contextText(subject, 'expected_issuer'),
    time: timeOf(subject),
  };
}

interface SerialEvidence extends NrasEvidence {
  /** Decimal, as tokens name it. */
  readonly ueid: string;
}

/** So many devices as the case expects: those of the folder that the tokens name, and strangers for what is left. */
function evidenceOf(subject: CaseOf<'nras-eat'>): readonly NrasEvidence[] {
  const count = Number(subject.context['expected_devices']);
  const folder = evidenceOfFolder(subject.set).flat();
  const named = tokenClaims(subject).map(({ claims }): NrasEvidence => {
    return folder.find(({ ueid }) => ueid === claims['ueid']) ?? claimedEvidence(claims);
  });
  const stranger = (i: number): NrasEvidence => ({
    kind: 'gpu',
    leafSerialNumber: Uint8Array.of(i + 1),
    driverVersion: '0.0',
    vbiosVersion: '00.00.00.00.00',
  });
  return Array.from({ length: count }, (_, i) => named[i] ?? stranger(i));
}

/** A device whose evidence the folder does not have is taken as the token says: there only the tokens are judged. */
function claimedEvidence(claims: Members): NrasEvidence {
  const isSwitch = 'x-nvidia-switch-bios-version' in claims;
  const ueid = claims['ueid'];
  const serial = BigInt(typeof ueid === 'string' ? ueid : 0).toString(16);
  const digits = serial.padStart(Math.ceil(serial.length / 2) * 2, '0');
  return {
    kind: isSwitch ? 'switch' : 'gpu',
    leafSerialNumber: Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)),
    driverVersion: isSwitch ? undefined : String(claims['x-nvidia-gpu-driver-version']),
    vbiosVersion: String(claims[isSwitch ? 'x-nvidia-switch-bios-version' : 'x-nvidia-gpu-vbios-version']),
  };
}

const readFolders = new WeakMap<NvidiaSet, readonly (readonly SerialEvidence[])[]>();

/** Evidence in the folder, vector by vector, by what tokens call it. It is read once. */
function evidenceOfFolder(set: NvidiaSet): readonly (readonly SerialEvidence[])[] {
  const known =
    readFolders.get(set) ?? set.manifest.vectors.flatMap((vector) => evidenceIn(caseOf(set, vector)));
  readFolders.set(set, known);
  return known;
}

function evidenceIn(subject: NvidiaCase): readonly (readonly SerialEvidence[])[] {
  const { vector, files } = subject;
  const list = files.get('evidence') ?? files.get('gpu_json') ?? files.get('request');
  if (list !== undefined) return [presentedDevices(list, vector.id).map(serialEvidence)];
  if (vector.kind !== 'gpu-evidence' && vector.kind !== 'switch-evidence') return [];
  return vector.expect.failing.includes('leaf_role') ? [] : [[serialEvidence(deviceOf(subject))]];
}

function deviceOf(subject: NvidiaCase): PresentedEvidence {
  const architecture = subject.vector.arch ?? '';
  return {
    report: withoutPadding(fileOf(subject, 'report')),
    certificates: readPemChain(fileOf(subject, 'chain'), 'chain'),
    kind: kindOf(architecture),
    architecture,
  };
}

function serialEvidence({ report: bytes, certificates, kind }: PresentedEvidence): SerialEvidence {
  const report = readDeviceReport(bytes, kind);
  const [leaf] = certificates;
  const { serialNumber } = readCertificate(leaf ?? new Uint8Array(0), 'leaf');
  return {
    kind,
    leafSerialNumber: serialNumber,
    ueid: BigInt(`0x${toHex(serialNumber)}`).toString(),
    driverVersion: report.kind === 'gpu' ? report.fields.driverVersion : undefined,
    vbiosVersion: report.fields.vbiosVersion,
  };
}

/** Whether the folder has evidence of just the devices that the tokens name, in their order. */
function isInFolder(subject: CaseOf<'nras-eat'>): boolean {
  const named = tokenClaims(subject).map(({ claims }) => claims['ueid']);
  return evidenceOfFolder(subject.set).some(
    (devices) => devices.map(({ ueid }) => ueid).join() === named.join(),
  );
}

interface DeviceToken {
  readonly name: string;
  readonly token: ClaimedToken;
  readonly claims: Members;
}

function tokenClaims(subject: NvidiaCase): readonly DeviceToken[] {
  const { devices } = readNrasAnswer(answerOf(subject), 'response');
  return [...devices].map(([name, token]) => ({ name, token, claims: token.payload as Members }));
}

function answerMembers(subject: NvidiaCase, stated: Members): Members {
  if ('keys' in stated) {
    return { keys: Object.keys(JSON.parse(fromUtf8(fileOf(subject, 'response'), 'response')) as object) };
  }
  const { overall } = readNrasAnswer(answerOf(subject), 'response');
  const claims = overall.payload as Members;
  return {
    kid: (overall.header as Members)['kid'],
    alg: overall.algorithm,
    iss: claims['iss'],
    version: claims['x-nvidia-ver'],
    overall: claims['x-nvidia-overall-att-result'],
    eat_nonce: claims['eat_nonce'],
    iat: claims['iat'],
    exp: claims['exp'],
    submods: tokenClaims(subject).map(submoduleMembers),
  };
}

function submoduleMembers({ name, token, claims }: DeviceToken): Members {
  const digest = { name, sha256: toHex(sha256(token.compact)) };
  const failure = claims['x-nvidia-error-details'] as Members | undefined;
  if (failure !== undefined) return { ...digest, error: failure['message'] };
  const driver = claims['x-nvidia-gpu-driver-version'];
  return {
    ...digest,
    hwmodel: claims['hwmodel'],
    measres: claims['measres'],
    ...(driver !== undefined && { driver }),
    vbios: claims['x-nvidia-gpu-vbios-version'] ?? claims['x-nvidia-switch-bios-version'],
    ueid: claims['ueid'],
  };
}
