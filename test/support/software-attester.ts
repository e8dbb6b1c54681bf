/**
 * A TPM written in a test: it signs whatever it is told with a software key, so that every rule of the verifier can
 * be broken one at a time. Real and simulated TPMs are tested elsewhere.
 */

import type { webcrypto } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, toHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { anchorDigest } from '../../attestation/core/certificate-path.ts';
import type { CertificateAnchor, TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../attestation/core/device-class.ts';
import { encode } from '../../attestation/core/layout.ts';
import { attestationKeyTemplates } from '../../attestation/tpm/templates.ts';
import {
  Algorithm,
  attest,
  AttestType,
  publicArea,
  signature,
  TPM_GENERATED,
} from '../../attestation/tpm/layout.ts';
import type { PublicArea, QuoteAttest } from '../../attestation/tpm/layout.ts';
import { computeName, computeQualifiedName, Hierarchy, hierarchyName } from '../../attestation/tpm/name.ts';
import type { PresentedRatchet } from '../../attestation/tpm/ratchet/evidence.ts';
import { NO_LOGS, writeTpmEvidence } from '../../attestation/tpm/evidence.ts';
import type { MeasurementLogs } from '../../attestation/tpm/evidence.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { selectPcrs } from '../../attestation/tpm/pcr-selection.ts';
import { makeAuthority } from './certificates.ts';

export type KeyKind = 'ecc-p256' | 'rsa-2048' | 'rsa-pss-2048';

export interface SoftwareAttester {
  readonly publicArea: PublicArea;
  readonly name: Uint8Array;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly anchor: CertificateAnchor;
  readonly inputs: DeviceInputs;
  /** A quote that is right in all but the changes. */
  quote(changes?: Partial<QuoteAttest>): QuoteAttest;
  /** TPMT_SIGNATURE over the bytes. */
  sign(message: Uint8Array): Promise<Uint8Array>;
  /** Evidence of a quote, or of other bytes that the key signs. */
  evidence(
    statement?: QuoteAttest | Uint8Array,
    logs?: Partial<MeasurementLogs>,
    ratchet?: PresentedRatchet | null,
  ): Promise<JsonValue>;
}

const algorithms = {
  'ecc-p256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'rsa-2048': rsa('RSASSA-PKCS1-v1_5'),
  'rsa-pss-2048': { ...rsa('RSA-PSS'), saltLength: 32 },
} as const;

function rsa(name: string) {
  return { name, modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-256' } as const;
}

function withKey(kind: KeyKind, jwk: webcrypto.JsonWebKey): PublicArea {
  const number = (text = ''): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url'));
  if (kind === 'ecc-p256') {
    return { ...attestationKeyTemplates['ecc-p256'], unique: { x: number(jwk.x), y: number(jwk.y) } };
  }
  const template = attestationKeyTemplates['rsa-2048'];
  if (kind === 'rsa-2048') return { ...template, unique: number(jwk.n) };
  const scheme = { algorithm: Algorithm.rsapss, hash: Algorithm.sha256 } as const;
  return { ...template, parameters: { ...template.parameters, scheme }, unique: number(jwk.n) };
}

export const PCRS = [0, 1, 4, 7, 11] as const;

const ORDINARY_REGISTERS = new Map(PCRS.map((pcr) => [pcr, sha256(Uint8Array.of(pcr))] as const));

/** @param registers what it quotes, in ascending order; a test may change those of the result */
export async function makeSoftwareAttester(
  kind: KeyKind = 'ecc-p256',
  registers: ReadonlyMap<number, Uint8Array> = ORDINARY_REGISTERS,
): Promise<SoftwareAttester> {
  const pcrs = new Map(registers);
  const algorithm = algorithms[kind];
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const area = withKey(kind, await crypto.subtle.exportKey('jwk', pair.publicKey));
  const name = computeName(area);
  const anchor = {
    name: 'Test TPM vendor',
    certificate: makeAuthority('Test TPM vendor').der,
    simulated: true,
  };
  const expectedDeviceValue = sha256(name);

  const quote = (changes: Partial<QuoteAttest> = {}): QuoteAttest => ({
    magic: TPM_GENERATED,
    type: AttestType.quote,
    qualifiedSigner: computeQualifiedName(hierarchyName(Hierarchy.endorsement), name),
    extraData: expectedDeviceValue,
    clockInfo: { clock: 5000n, resetCount: 7, restartCount: 1, safe: 1 },
    firmwareVersion: 0x2019102300163636n,
    attested: {
      pcrSelect: selectPcrs({ bank: tpmHash(Algorithm.sha256, 'bank'), pcrs: [...pcrs.keys()] }),
      pcrDigest: sha256(concatBytes(...pcrs.values())),
    },
    ...changes,
  });
  const sign = async (message: Uint8Array): Promise<Uint8Array> => {
    const raw = await crypto.subtle.sign(algorithm, pair.privateKey, new Uint8Array(message));
    return encode(signature, framed(kind, new Uint8Array(raw)), 'signature');
  };
  const evidence: SoftwareAttester['evidence'] = async (statement = quote(), logs = {}, ratchet = null) => {
    const bytes = statement instanceof Uint8Array ? statement : encode(attest, statement, 'attest');
    return writeTpmEvidence(
      {
        akPublic: encode(publicArea, area, 'akPublic'),
        attest: bytes,
        signature: await sign(bytes),
        bank: 'sha256',
        pcrs,
      },
      { ...NO_LOGS, ...logs },
      ratchet,
    );
  };
  const inputs: DeviceInputs = {
    expectedDeviceValue,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: 1_800_000_000,
    anchors: [anchor],
    collateral: new Map(),
    enrolment: enrolmentOf(name, anchor),
    referenceValues: [referenceOf(pcrs)],
    policy: {
      version: 2,
      class: 'tpm',
      bank: 'sha256',
      pcrs: [...pcrs.keys()],
      registers: 'reference',
      ratchet: 'none',
      boot: 'any',
      allowUnsafeClock: false,
      deniedFirmware: [],
    },
  };
  return { publicArea: area, name, pcrs, anchor, inputs, quote, sign, evidence };
}

function framed(kind: KeyKind, raw: Uint8Array) {
  if (kind === 'ecc-p256') {
    return {
      algorithm: Algorithm.ecdsa,
      hash: Algorithm.sha256,
      r: raw.subarray(0, 32),
      s: raw.subarray(32),
    } as const;
  }
  const algorithm = kind === 'rsa-2048' ? Algorithm.rsassa : Algorithm.rsapss;
  return { algorithm, hash: Algorithm.sha256, signature: raw } as const;
}

export function enrolmentOf(name: Uint8Array, anchor: TrustAnchor): Readonly<Record<string, JsonValue>> {
  return {
    version: 1,
    class: 'tpm',
    lab: 'lab-one',
    akName: toHex(name),
    ekName: toHex(name),
    ekPublicDigest: toHex(sha256(Uint8Array.of(1))),
    ekCertificateDigest: toHex(sha256(Uint8Array.of(2))),
    anchorDigest: toHex(anchorDigest(anchor)),
    manufacturer: 'id:00001014',
    model: 'swtpm',
    lastSeen: null,
    frozen: null,
  };
}

function referenceOf(pcrs: ReadonlyMap<number, Uint8Array>): Readonly<Record<string, JsonValue>> {
  const values = [...pcrs].filter(([pcr]) => pcr !== 1).map(([pcr, value]) => [String(pcr), [toHex(value)]]);
  return {
    version: 2,
    class: 'tpm',
    name: 'test machine',
    bank: 'sha256',
    pcrs: Object.fromEntries(values) as JsonValue,
    boot: null,
    provenance: { source: 'a test', recordedAt: 1_700_000_000 },
  };
}
