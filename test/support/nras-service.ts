/** A service that answers like NVIDIA's remote attestation service, each part of which a test can make wrong. */

import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { authorityExtensions, signingUsage, writeCertificate } from './certificate-writer.ts';

export const NRAS_TIME = Date.parse('2026-11-21T12:00:00Z') / 1000;
const ISSUER = 'https://nras.attestation.nvidia.com';
export const NRAS_NONCE = new Uint8Array(32).fill(0xa5);

type Claims = Readonly<Record<string, unknown>>;

const spki = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ format: 'der', type: 'spki' }));
const dateOf = (posixSeconds: number): Date => new Date(posixSeconds * 1000);
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A P-384 key with a certificate of two days, below an RSA authority. Making one takes a moment. */
export class NrasSigner {
  readonly keyId = 'nv-eat-kid-prod-1';
  readonly leaf: Uint8Array;
  readonly intermediate: Uint8Array;
  private readonly key = generateKeyPairSync('ec', { namedCurve: 'P-384' });

  /** @param time POSIX seconds: its certificates are good then */
  constructor(time = NRAS_TIME) {
    const authority = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const year = 365 * 86_400;
    const names = { issuer: 'NRAS Intermediate', serialNumber: 1 };
    this.intermediate = writeCertificate(
      {
        ...names,
        subject: names.issuer,
        notBefore: dateOf(time - year),
        notAfter: dateOf(time + year),
        publicKey: spki(authority.publicKey),
        extensions: authorityExtensions(undefined),
      },
      authority.privateKey,
      'rsa-pkcs1-sha256',
    );
    this.leaf = writeCertificate(
      {
        ...names,
        subject: 'NRAS GH100',
        notBefore: dateOf(time - 86_400),
        notAfter: dateOf(time + 86_400),
        publicKey: spki(this.key.publicKey),
        extensions: [signingUsage],
      },
      authority.privateKey,
      'rsa-pkcs1-sha256',
    );
  }

  /** The authority, pinned as an operator pins it. */
  anchor(more: Partial<TrustAnchor> = {}): TrustAnchor {
    const { subjectPublicKeyInfo } = readCertificate(this.intermediate, 'intermediate');
    const publicKeyDigest = sha256(subjectPublicKeyInfo);
    return { name: 'NRAS', purpose: 'attestation-results', simulated: false, publicKeyDigest, ...more };
  }

  /** The JSON Web Key, with members changed or, where undefined, left out. */
  jwk(change: Claims = {}): Claims {
    const { x, y } = this.key.publicKey.export({ format: 'jwk' });
    const x5c = [this.leaf, this.intermediate].map((der) => Buffer.from(der).toString('base64'));
    return { kty: 'EC', crv: 'P-384', kid: this.keyId, x5c, x, y, ...change };
  }

  token(payload: unknown, header: Claims = { kid: this.keyId, alg: 'ES384' }): string {
    const input = `${encode(header)}.${typeof payload === 'string' ? payload : encode(payload)}`;
    const signature = sign('sha384', Buffer.from(input), {
      key: this.key.privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return `${input}.${signature.toString('base64url')}`;
  }
}

export function keySet(...keys: readonly Claims[]): Uint8Array {
  return toUtf8(JSON.stringify({ keys }));
}

const COMMON = { iss: ISSUER, iat: NRAS_TIME - 10, nbf: NRAS_TIME - 10, exp: NRAS_TIME + 3590, jti: 'one' };
const EAT_NONCE = Buffer.from(NRAS_NONCE).toString('hex');
const trueFor = (...names: readonly string[]): Claims =>
  Object.fromEntries(names.map((name) => [name, true]));
const GOOD_CHAIN = {
  'x-nvidia-cert-status': 'valid',
  'x-nvidia-cert-ocsp-status': 'good',
  'x-nvidia-cert-expiration-date': '9999-12-31T23:59:59Z',
  'x-nvidia-cert-revocation-reason': null,
};

const JUDGED = {
  ...COMMON,
  eat_nonce: EAT_NONCE,
  ueid: '258',
  measres: 'success',
  secboot: true,
  dbgstat: 'disabled',
  'x-nvidia-attestation-warning': null,
};

const RESULTS = {
  report: ['parsed', 'nonce-match', 'signature-verified'],
  rim: ['fetched', 'schema-validated', 'signature-verified', 'measurements-available'],
} as const;
const prefixed = (prefix: string, names: readonly string[]): readonly string[] =>
  names.map((name) => `${prefix}-${name}`);

/** The claims of a good GPU in version 3.0, as the service writes them. */
export const goodGpu: Claims = {
  ...JUDGED,
  hwmodel: 'GH100 A01 GSP BROM',
  oemid: '5703',
  'x-nvidia-gpu-driver-version': '570.172.08',
  'x-nvidia-gpu-vbios-version': '96.00.CF.00.02',
  ...trueFor(
    'x-nvidia-gpu-arch-check',
    'x-nvidia-gpu-vbios-index-no-conflict',
    'x-nvidia-gpu-attestation-report-cert-chain-fwid-match',
    ...prefixed('x-nvidia-gpu-attestation-report', RESULTS.report),
    ...prefixed('x-nvidia-gpu-driver-rim', [...RESULTS.rim, 'version-match']),
    ...prefixed('x-nvidia-gpu-vbios-rim', [...RESULTS.rim, 'version-match']),
  ),
  'x-nvidia-gpu-attestation-report-cert-chain': GOOD_CHAIN,
  'x-nvidia-gpu-driver-rim-cert-chain': GOOD_CHAIN,
  'x-nvidia-gpu-vbios-rim-cert-chain': GOOD_CHAIN,
};

/** The claims of a good switch in version 3.0. */
export const goodSwitch: Claims = {
  ...JUDGED,
  hwmodel: 'LS_10 A01 FSP BROM',
  oemid: null,
  'x-nvidia-switch-bios-version': '96.10.55.00.01',
  ...trueFor(
    'x-nvidia-switch-arch-check',
    'x-nvidia-switch-attestation-report-cert-chain-fwid-match',
    ...prefixed('x-nvidia-switch-attestation-report', RESULTS.report),
    ...prefixed('x-nvidia-switch-bios-rim', [...RESULTS.rim, 'version-match']),
  ),
  'x-nvidia-switch-attestation-report-cert-chain': GOOD_CHAIN,
  'x-nvidia-switch-bios-rim-cert-chain': GOOD_CHAIN,
};

/** What the service says of a device that it could not judge. */
export const failedDevice: Claims = {
  ...COMMON,
  'x-nvidia-error-details': {
    code: 4010,
    fieldName: 'nonce',
    httpStatus: '400 BAD_REQUEST',
    description: 'Nonce from request is not matching with evidence nonce ',
    message: 'NONCE_NOT_MATCHING',
  },
};

/** An answer over these device tokens. @param change of the claims of the overall token */
export function answerOver(
  signer: NrasSigner,
  devices: Readonly<Record<string, string>>,
  change: Claims = {},
): Uint8Array {
  const submods = Object.fromEntries(
    Object.entries(devices).map(([name, token]) => [
      name,
      ['DIGEST', ['SHA-256', createHash('sha256').update(token).digest('hex')]],
    ]),
  );
  const overall = signer.token({
    ...COMMON,
    sub: 'NVIDIA-PLATFORM-ATTESTATION',
    'x-nvidia-ver': '3.0',
    'x-nvidia-overall-att-result': true,
    eat_nonce: EAT_NONCE,
    submods,
    ...change,
  });
  return toUtf8(JSON.stringify([['JWT', overall], devices]));
}
