/**
 * A hierarchy with AMD's names, algorithms and extensions and keys of the test's own, and reports signed under it. Every
 * member of every certificate, list and report can be broken on purpose; where its root is an anchor, only the rule
 * that was broken stands between such a report and acceptance.
 */

import { constants, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { PinnedKeyAnchor } from '../../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { CertificateGuid, writeCertificateTable } from '../../../attestation/sev-snp/certificate-table.ts';
import { SIGNED_BYTES, writeReport } from '../../../attestation/sev-snp/layout.ts';
import type { AttestationReport } from '../../../attestation/sev-snp/layout.ts';
import type { ProductLine } from '../../../attestation/sev-snp/product.ts';
import { writeTcb } from '../../../attestation/sev-snp/tcb.ts';
import type { Tcb } from '../../../attestation/sev-snp/tcb.ts';
import { authorityExtensions, writeCertificate } from '../../support/certificate-writer.ts';
import { keptRsaKey } from '../../support/kept-keys.ts';
import type { CertificateContents, CertificateExtension } from '../../support/certificate-writer.ts';

export type Document = Readonly<Record<string, JsonValue>>;

/** 2026-01-01, in the middle of everything's validity. */
export const NOW = 1_767_225_600;
const FROM = new Date('2024-01-01T00:00:00Z');
const TO = new Date('2030-01-01T00:00:00Z');

export interface Keys {
  readonly ark: KeyObject;
  readonly intermediate: KeyObject;
  readonly chip: KeyObject;
}

export function makeKeys(): Keys {
  const chip = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  return { ark: keptRsaKey('lookalike-ark'), intermediate: keptRsaKey('lookalike-intermediate'), chip };
}

const spki = (key: KeyObject): Uint8Array =>
  new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }));

const ARC = '1.3.6.1.4.1.3704.1';

/** One of AMD's extensions; `suffix` is what follows its arc. */
export function amdExtension(suffix: string, ...value: readonly number[]): CertificateExtension {
  return { identifier: `${ARC}.${suffix}`, critical: false, value: Uint8Array.from(value) };
}

/** An INTEGER of one byte, with the sign byte where it needs one. */
const integer = (value: number): readonly number[] => (value < 0x80 ? [2, 1, value] : [2, 2, 0, value]);
const ia5 = (text: string): readonly number[] => [0x16, text.length, ...Buffer.from(text)];

export const MILAN_TCB: Tcb = { fmc: undefined, bootLoader: 4, tee: 0, snp: 27, microcode: 0xde };
export const TURIN_TCB: Tcb = { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 0x52 };
export const CHIP = Uint8Array.from({ length: 64 }, (_, i) => i + 1);
export const TURIN_CHIP = CHIP.subarray(0, 8);
export const CSP_ID = 'CN=cc-test.example';

/** The extensions of a VCEK (hwid) or VLEK (csp_id). */
export function keyExtensions(
  line: ProductLine,
  tcb: Tcb,
  owner: Uint8Array | string,
): readonly CertificateExtension[] {
  const isTurin = line === 'Turin';
  const levels = isTurin
    ? { 9: tcb.fmc ?? 0, 1: tcb.bootLoader, 2: tcb.tee, 3: tcb.snp, 5: 0, 6: 0, 7: 0, 8: tcb.microcode }
    : { 1: tcb.bootLoader, 2: tcb.tee, 3: tcb.snp, 4: 0, 5: 0, 6: 0, 7: 0, 8: tcb.microcode };
  return [
    amdExtension('1', ...integer(isTurin ? 1 : 0)),
    amdExtension('2', ...ia5(line === 'Milan' ? 'Milan-B0' : line)),
    ...Object.entries(levels).map(([number, level]) => amdExtension(`3.${number}`, ...integer(level))),
    typeof owner === 'string' ? amdExtension('5', ...ia5(owner)) : amdExtension('4', ...owner),
  ];
}

type Changes = Partial<CertificateContents>;

/** What a test may change about the certificates beside a report. */
export interface ChainChanges {
  readonly line?: ProductLine;
  readonly kind?: 'vcek' | 'vlek';
  readonly ark?: Changes;
  readonly intermediate?: Changes;
  readonly key?: Changes;
  /** Who signs in the place of the right issuer. */
  readonly keySigner?: KeyObject;
  readonly intermediateSigner?: KeyObject;
}

export interface Chain {
  readonly ark: Uint8Array;
  readonly intermediate: Uint8Array;
  readonly key: Uint8Array;
}

/** RSA-4096 signatures take long: a certificate that was made once with the same contents is taken again. */
const made = new WeakMap<KeyObject, Map<string, Uint8Array>>();
function certificateOf(contents: CertificateContents, signer: KeyObject): Uint8Array {
  const known = made.get(signer) ?? new Map<string, Uint8Array>();
  made.set(signer, known);
  const name = JSON.stringify(contents);
  const certificate = known.get(name) ?? writeCertificate(contents, signer, 'rsa-pss-sha384');
  known.set(name, certificate);
  return certificate;
}

/** Certificates that are right in all but the changes. */
export function makeChain(keys: Keys, changes: ChainChanges = {}): Chain {
  const { line = 'Milan', kind = 'vcek' } = changes;
  const root = `ARK-${line}`;
  const authority = kind === 'vcek' ? `SEV-${line}` : `SEV-VLEK-${line}`;
  const base = { serialNumber: 0x10000, notBefore: FROM, notAfter: TO };
  const tcb = line === 'Turin' ? TURIN_TCB : MILAN_TCB;
  const owner = kind === 'vlek' ? CSP_ID : line === 'Turin' ? TURIN_CHIP : CHIP;
  return {
    ark: certificateOf(
      {
        ...base,
        issuer: root,
        subject: root,
        publicKey: spki(keys.ark),
        extensions: authorityExtensions(undefined),
        ...changes.ark,
      },
      keys.ark,
    ),
    intermediate: certificateOf(
      {
        ...base,
        serialNumber: 0x10001,
        issuer: root,
        subject: authority,
        publicKey: spki(keys.intermediate),
        extensions: authorityExtensions(0),
        ...changes.intermediate,
      },
      changes.intermediateSigner ?? keys.ark,
    ),
    key: certificateOf(
      {
        ...base,
        serialNumber: 0,
        issuer: authority,
        subject: kind === 'vcek' ? 'SEV-VCEK' : 'SEV-VLEK',
        publicKey: spki(keys.chip),
        extensions: keyExtensions(line, tcb, owner),
        ...changes.key,
      },
      changes.keySigner ?? keys.intermediate,
    ),
  };
}

/** The root as an operator pins it. */
export function pin(chain: Chain, simulated = true): PinnedKeyAnchor {
  const { subjectPublicKeyInfo } = readCertificate(chain.ark, 'ark');
  return { name: 'lookalike', publicKeyDigest: sha256(subjectPublicKeyInfo), simulated };
}

const NO_POLICY_BITS = {
  abiMinor: 31,
  abiMajor: 0,
  smtAllowed: true,
  reserved17: true,
  migrateMa: false,
  debug: false,
  singleSocket: false,
  cxlAllow: false,
  memAes256Xts: false,
  raplDis: false,
  ciphertextHidingDram: false,
  pageSwapDisable: false,
  unknownBits: 0n,
};

const PLATFORM = {
  smtEn: true,
  tsmeEn: false,
  eccEn: true,
  raplDis: false,
  ciphertextHidingDramEn: false,
  aliasCheckComplete: true,
  tioEn: false,
  unknownBits: 0n,
};

const zeros = (length: number): Uint8Array => new Uint8Array(length);
export const MEASUREMENT = zeros(48).fill(0x5a);
export const REPORT_ID = zeros(32).fill(0x77);

/** A report of a good Milan guest, without REPORT_DATA and signature. */
export const MILAN_REPORT: AttestationReport = {
  version: 3,
  guestSvn: 0,
  policy: NO_POLICY_BITS,
  familyId: zeros(16),
  imageId: zeros(16),
  vmpl: 0,
  signatureAlgo: 1,
  currentTcb: writeTcb('milan', MILAN_TCB),
  platformInfo: PLATFORM,
  keyInfo: { authorKeyEn: false, maskChipKey: false, signingKey: 0 },
  reportData: zeros(64),
  measurement: MEASUREMENT,
  hostData: zeros(32),
  idKeyDigest: zeros(48),
  authorKeyDigest: zeros(48),
  reportId: REPORT_ID,
  reportIdMa: zeros(32).fill(0xff),
  reportedTcb: writeTcb('milan', MILAN_TCB),
  cpuid: { family: 0x19, model: 0x01, stepping: 0x01 },
  chipId: CHIP,
  committedTcb: writeTcb('milan', MILAN_TCB),
  currentVersion: { major: 1, minor: 55, build: 40 },
  committedVersion: { major: 1, minor: 55, build: 40 },
  launchTcb: writeTcb('milan', MILAN_TCB),
  mitigations: undefined,
  signature: { r: zeros(48), s: zeros(48) },
};

/** The same of Turin, in version 5. */
export const TURIN_REPORT: AttestationReport = {
  ...MILAN_REPORT,
  version: 5,
  currentTcb: writeTcb('turin', TURIN_TCB),
  reportedTcb: writeTcb('turin', TURIN_TCB),
  committedTcb: writeTcb('turin', TURIN_TCB),
  launchTcb: writeTcb('turin', TURIN_TCB),
  platformInfo: { ...PLATFORM, unknownBits: 0x40n },
  cpuid: { family: 0x1a, model: 0x02, stepping: 0x01 },
  chipId: concatBytes(TURIN_CHIP, zeros(56)),
  mitigations: { launch: 3n, current: 7n },
};

/** The bytes of a report, signed. */
export function signReport(report: AttestationReport, key: KeyObject): Uint8Array {
  const bytes = writeReport(report);
  const signature = sign('sha384', bytes.subarray(0, SIGNED_BYTES), { key, dsaEncoding: 'ieee-p1363' });
  const [r, s] = [signature.subarray(0, 48), signature.subarray(48)].map((number) =>
    Uint8Array.from(number).reverse(),
  );
  return writeReport({ ...report, signature: { r: r!, s: s! } });
}

/** The `sev-snp` member of an evidence bundle. */
export function evidenceOf(
  report: Uint8Array,
  chain: Partial<Chain>,
  kind: 'vcek' | 'vlek' = 'vcek',
): Document {
  const entries = [
    { guid: CertificateGuid.ark, content: chain.ark },
    { guid: CertificateGuid.intermediate, content: chain.intermediate },
    { guid: CertificateGuid[kind], content: chain.key },
  ].flatMap(({ guid, content }) => (content === undefined ? [] : [{ guid, content }]));
  return { report: toBase64(report), certificateTable: toBase64(writeCertificateTable(entries)) };
}

const minimum = (processor: string, { fmc, ...levels }: Tcb): JsonValue => ({
  processor,
  tcb: { fmc: fmc ?? null, ...levels },
  firmware: '1.55.35',
});

/** A policy that the reports above satisfy, as strict as they allow. */
export const POLICY: Document = {
  version: 1,
  class: 'sev-snp',
  reportVersions: [3, 5],
  signingKeys: ['vcek'],
  productLines: ['Milan', 'Turin'],
  vmpls: [0],
  minimumTcb: { sets: [], processors: [minimum('19-01-01', MILAN_TCB), minimum('1a-02-01', TURIN_TCB)] },
  allowProvisionalFirmware: false,
  guestPolicy: { minimumAbi: { major: 0, minor: 31 }, required: [], forbidden: ['cxlAllow'] },
  platformInfo: {
    required: ['aliasCheckComplete', 'eccEn'],
    forbidden: ['tioEn'],
    toleratedUnknownBits: '0000000000000040',
  },
  minimumGuestSvn: 0,
  familyIds: 'any',
  imageIds: 'any',
  idKeyDigests: [toHex(zeros(48))],
  authorKeyDigests: [toHex(zeros(48))],
  hostData: [toHex(zeros(32))],
  mitigations: { launch: '0000000000000000', current: '0000000000000000' },
  migrationAgents: [],
  chips: { allowed: 'any', denied: [], allowMasked: false },
  cspIds: [CSP_ID],
  revocation: {
    missingList: 'refuse',
    maxAgeSeconds: 90 * 86_400,
    minimumNumbers: { Milan: 2, Genoa: 0, Turin: 2 },
  },
  enrolment: 'not-required',
};

export const LAUNCH: Document = {
  version: 1,
  class: 'sev-snp',
  kind: 'launch',
  name: 'test image',
  measurement: toHex(MEASUREMENT),
  provenance: {
    method: 'recorded',
    tool: 'test',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  },
};

/** A tag-length-value of DER. */
function tlv(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = concatBytes(...parts);
  const { length } = content;
  const header =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concatBytes(Uint8Array.of(tag, ...header), content);
}

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const utcTime = (posixSeconds: number): Uint8Array => {
  const text = new Date(1000 * posixSeconds)
    .toISOString()
    .replace(/[-:T]|\.000/g, '')
    .slice(2);
  return tlv(0x17, Uint8Array.from(Buffer.from(text)));
};

export interface ListChanges {
  readonly version?: number;
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  readonly number?: number;
  /** Serial numbers, hex. */
  readonly revoked?: readonly string[];
  /** Extensions of the list besides its number, DER in hex. */
  readonly extensions?: string;
  /** Extensions of each entry, DER in hex. */
  readonly entryExtensions?: string;
}

/** A revocation list of the root of a chain, right in all but the changes. */
export function makeList(chain: Chain, signer: KeyObject, changes: ListChanges = {}): Uint8Array {
  const {
    version = 1,
    thisUpdate = NOW - 86_400,
    nextUpdate = NOW + 86_400,
    number = 2,
    revoked = [],
  } = changes;
  const algorithm = algorithmOf(chain.ark);
  const entries = revoked.map((serial) =>
    tlv(0x30, tlv(0x02, bytes(serial)), utcTime(thisUpdate), bytes(changes.entryExtensions ?? '')),
  );
  const numberExtension = tlv(0x30, bytes('0603551d14'), tlv(0x04, tlv(0x02, Uint8Array.of(number))));
  const tbs = tlv(
    0x30,
    tlv(0x02, Uint8Array.of(version)),
    algorithm,
    readCertificate(chain.ark, 'ark').subject,
    utcTime(thisUpdate),
    utcTime(nextUpdate),
    ...(entries.length > 0 ? [tlv(0x30, ...entries)] : []),
    tlv(0xa0, tlv(0x30, numberExtension, bytes(changes.extensions ?? ''))),
  );
  const key = { key: signer, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 };
  return tlv(0x30, tbs, algorithm, tlv(0x03, Uint8Array.of(0), sign('sha384', tbs, key)));
}

/** The AlgorithmIdentifier with which a certificate is signed: what follows its tbsCertificate. */
function algorithmOf(certificate: Uint8Array): Uint8Array {
  const { tbsCertificate } = readCertificate(certificate, 'ark');
  const rest = certificate.subarray(4 + tbsCertificate.length);
  return rest.subarray(0, 2 + rest[1]!);
}
