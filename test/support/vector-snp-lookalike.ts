/**
 * A hierarchy with AMD's names and other keys, which signs real reports again after a change: what a verifier that goes
 * by names would accept, and what one has to refuse although every signature holds.
 */

import { generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import type { PinnedKeyAnchor } from '../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { SIGNED_BYTES } from '../../attestation/sev-snp/layout.ts';
import { extension, publicKeyOf } from '../../src/agent/simulated/certificate-parts.ts';
import * as der from '../../src/agent/simulated/der-writer.ts';
import { certificateOf } from '../../src/agent/simulated/sev-snp-certificates.ts';
import { keptRsaKey } from './kept-keys.ts';
import { applyPhrase } from './vector-snp-collateral.ts';
import type { CollateralSubject } from './vector-snp-collateral.ts';
import type { EditCase, EditRule, Expectation } from './vector-snp-edits.ts';
import type { SnpVector } from './vector-snp-manifest.ts';
import { ask, isFleetSigned, questionOf } from './vector-snp-question.ts';
import type { Question } from './vector-snp-question.ts';

/** Extensions of the key's certificate, by identifier, in their order. */
type Extensions = readonly (readonly [identifier: string, value: Uint8Array])[];

interface Lookalike {
  readonly anchor: PinnedKeyAnchor;
  /** The question about the same report, signed again by the lookalike's key. */
  question(report: Uint8Array, extensions?: (real: Extensions) => Extensions): Question;
}

interface Keys {
  readonly ark: KeyObject;
  readonly ask: KeyObject;
  readonly vcek: KeyObject;
}

let keys: Keys | undefined;

function keysOnce(): Keys {
  keys ??= {
    ark: keptRsaKey('vector-ark'),
    ask: keptRsaKey('vector-ask'),
    vcek: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  };
  return keys;
}

/** A certificate with the real one's validity and constraints, made for another key. */
function imitate(
  real: Uint8Array,
  names: { readonly issuer: string; readonly subject: string },
  key: KeyObject,
  signer: KeyObject,
  extensions?: Extensions,
): Uint8Array {
  const { notBefore, notAfter, serialNumber, extensions: found } = readCertificate(real, 'certificate');
  const isCritical = (identifier: string): boolean => found.get(identifier)?.isCritical === true;
  const copied = [...found].map(([identifier, { value }]) => [identifier, value] as const);
  return certificateOf({
    serial: serialNumber.reduce((number, byte) => number * 256 + byte, 0),
    ...names,
    notBefore,
    notAfter,
    publicKey: publicKeyOf(key),
    extensions: (extensions ?? copied).map(([identifier, value]) =>
      extension(identifier, value, isCritical(identifier)),
    ),
    signer,
  });
}

/** Lookalike of the hierarchy above a vector. */
export function lookalikeOf({ set }: Pick<CollateralSubject, 'set'>, vector: SnpVector): Lookalike {
  const { ark, ask, vcek } = keysOnce();
  const real = questionOf(set, vector);
  const line = vector.expected.verdict.product_line_from_issuer;
  const root = `ARK-${line}`;
  const issuer = `SEV-${line}`;
  const required = (bytes: Uint8Array | undefined): Uint8Array => bytes ?? new Uint8Array();
  const realKey = required(real.certificates.vcek);
  const authorities = {
    ark: imitate(required(real.certificates.ark), { issuer: root, subject: root }, ark, ark),
    intermediate: imitate(
      required(real.certificates.intermediate),
      { issuer: root, subject: issuer },
      ask,
      ark,
    ),
  };
  const anchor = { name: root, publicKeyDigest: sha256(publicKeyOf(ark)), simulated: true };
  const extensionsOf = (): Extensions =>
    [...readCertificate(realKey, 'certificate').extensions].map(([id, { value }]) => [id, value] as const);
  return {
    anchor,
    question: (report, change = (extensions) => extensions) => {
      const names = { issuer, subject: 'SEV-VCEK' };
      const certificate = imitate(realKey, names, vcek, ask, change(extensionsOf()));
      return {
        ...real,
        report: signedAgain(report, vcek),
        expectedReportData: report.slice(0x50, 0x90),
        certificates: { ...real.certificates, ...authorities, vcek: certificate },
        anchors: [anchor],
      };
    },
  };
}

function signedAgain(report: Uint8Array, key: KeyObject): Uint8Array {
  const signed = report.slice();
  const signature = sign('sha384', signed.subarray(0, SIGNED_BYTES), { key, dsaEncoding: 'ieee-p1363' });
  signed.set(Uint8Array.from(signature.subarray(0, 48)).reverse(), 0x2a0);
  signed.set(Uint8Array.from(signature.subarray(48)).reverse(), 0x2e8);
  return signed;
}

/** A vector of the line that is accepted as it is, names its processor and is signed by a chip's key. */
function exampleOf({ set }: CollateralSubject, line: string): SnpVector {
  const found = set.manifest.vectors.findLast((vector) => {
    const { report, verdict } = vector.expected;
    const isPlain = !verdict.observations.some((text) => /^(?:DEBUG|REPORT_DATA|VMPL)/.test(text));
    return (
      vector.report_version >= 3 &&
      !isFleetSigned(vector) &&
      isPlain &&
      verdict.product_line_from_issuer === line &&
      !/^0+$/.test(String(report['chip_id']))
    );
  });
  if (found === undefined) throw new Error(`no vector of ${line} to imitate`);
  return found;
}

const ARC = '1.3.6.1.4.1.3704.1';
const HWID = `${ARC}.4`;
const replaced =
  (identifier: string, value: Uint8Array) =>
  (real: Extensions): Extensions =>
    real.map(([id, old]) => [id, id === identifier ? value : old] as const);

/** How each phrase about the certificate's extensions changes them. */
const EXTENSION_EDITS: Readonly<Record<string, (real: Extensions) => Extensions>> = {
  'missing HWID': (real) => real.filter(([id]) => id !== HWID),
  'HWID of 63 bytes': (real) =>
    real.map(([id, value]) => [id, id === HWID ? value.subarray(0, 63) : value] as const),
  'duplicate OID': (real) => [...real, ...real.slice(0, 1)],
  'HWID and CSP_ID together': (real) => [...real, [`${ARC}.5`, der.toDer(der.ia5Text('CN=provider'))]],
  'SPL INTEGER 256': replaced(`${ARC}.3.3`, Uint8Array.of(2, 2, 1, 0)),
  'negative INTEGER': replaced(`${ARC}.3.3`, Uint8Array.of(2, 1, 0xff)),
  'product_name Genoa under SEV-Milan': replaced(`${ARC}.2`, Uint8Array.of(0x16, 5, ...toUtf8('Genoa'))),
  'struct_version 1 for Milan': replaced(`${ARC}.1`, Uint8Array.of(2, 1, 1)),
};

type ReportChange = (report: Uint8Array, match: RegExpExecArray) => readonly Uint8Array[];

function withBit(report: Uint8Array, bit: number, value: 0 | 1): Uint8Array {
  const changed = report.slice();
  const at = 8 + (bit >> 3);
  const mask = 1 << (bit & 7);
  changed[at] = value === 1 ? (changed[at] ?? 0) | mask : (changed[at] ?? 0) & ~mask;
  return changed;
}

function withBytes(report: Uint8Array, at: number, ...bytes: readonly number[]): Uint8Array {
  const changed = report.slice();
  changed.set(bytes, at);
  return changed;
}

/** Lowers the microcode of CURRENT_TCB below that of the TCB at the offset. */
function belowTcb(report: Uint8Array, at: number): Uint8Array {
  return withBytes(report, 0x3f, (report[at + 7] ?? 0) - 1);
}

/** How each phrase about the report changes it before it is signed again. */
const REPORT_EDITS: readonly (readonly [RegExp, ReportChange])[] = [
  [/^debug$/, (report) => [withBit(report, 19, 1)]],
  [/^migrate_ma$/, (report) => [withBit(report, 18, 1)]],
  [/^policy bit (\d+) clear$/, (report, [, bit]) => [withBit(report, Number(bit), 0)]],
  [/^policy bit (\d+) set$/, (report, [, bit]) => [withBit(report, Number(bit), 1)]],
  [
    /^vmpl (.+)$/,
    (report, [, levels = '']) =>
      levels.split(', ').map((level) => {
        const changed = report.slice();
        new DataView(changed.buffer).setUint32(0x30, Number(level), true);
        return changed;
      }),
  ],
  [/^chip_id zero with a VCEK$/, (report) => [report.slice().fill(0, 0x1a0, 0x1e0)]],
  [/^reported > current$/, (report) => [belowTcb(report, 0x180)]],
  [/^committed > current$/, (report) => [belowTcb(report, 0x1e0)]],
  [/^cpuid of another product$/, (report) => [withBytes(report, 0x188, 0x19, 0x11, 0x01)]],
];

/** What an operator would demand who allows nothing in particular. */
function ordinary(question: Question): Question {
  const chips = { allowed: 'any', denied: [], allowMasked: false } as const;
  return { ...question, policy: { ...question.policy, vmpls: [0], chips } };
}

function editCase(label: string, expected: Expectation, question: Question): EditCase {
  return { label, expected, judge: () => ask(question) };
}

function reportCases(subject: CollateralSubject, phrase: string): readonly EditCase[] {
  const underTurin = /^cpuid ([0-9a-f]{2})\/([0-9a-f]{2}) under (\S+)$/.exec(phrase);
  if (underTurin !== null) {
    const [, family = '', model = '', line = ''] = underTurin;
    const vector = exampleOf(subject, line);
    const { report } = questionOf(subject.set, vector);
    const changed = withBytes(report, 0x188, Number(`0x${family}`), Number(`0x${model}`));
    return [editCase(phrase, 'refused', ordinary(lookalikeOf(subject, vector).question(changed)))];
  }
  const vector = exampleOf(subject, 'Milan');
  const lookalike = lookalikeOf(subject, vector);
  const changed = applyPhrase(REPORT_EDITS, phrase, questionOf(subject.set, vector).report);
  return changed.map((report, i) =>
    editCase(
      changed.length === 1 ? phrase : `${phrase} (${i + 1})`,
      'refused',
      ordinary(lookalike.question(report)),
    ),
  );
}

/** The lookalike is accepted under its own pin: what is refused afterwards is refused for the change. */
function unchanged(subject: CollateralSubject): EditCase {
  const vector = exampleOf(subject, 'Milan');
  const { report } = questionOf(subject.set, vector);
  return editCase(
    'unchanged, its root pinned',
    'accepted',
    ordinary(lookalikeOf(subject, vector).question(report)),
  );
}

export const LOOKALIKE_RULES: readonly EditRule<CollateralSubject>[] = [
  {
    phrase: /^make RSA-4096 PSS certificates named ARK-(\w+),/,
    cases: ([, line = ''], subject) => {
      const vector = exampleOf(subject, line);
      const real = questionOf(subject.set, vector);
      const question = lookalikeOf(subject, vector).question(real.report);
      return [editCase('', 'not authentic', { ...question, anchors: real.anchors })];
    },
  },
  {
    phrase: /^missing HWID; .*$/,
    cases: ([phrases], subject) => {
      const vector = exampleOf(subject, 'Milan');
      const { report } = questionOf(subject.set, vector);
      const lookalike = lookalikeOf(subject, vector);
      const edits = phrases.split('; ').map((phrase) => {
        const change = EXTENSION_EDITS[phrase];
        if (change === undefined) throw new Error(`no rule for the edit of a certificate: ${phrase}`);
        return editCase(phrase, 'not authentic', lookalike.question(report, change));
      });
      return [unchanged(subject), ...edits];
    },
  },
  {
    phrase: /^re-sign reports with: (.*)$/,
    cases: ([, phrases = ''], subject) => [
      unchanged(subject),
      ...phrases.split('; ').flatMap((phrase) => reportCases(subject, phrase)),
    ],
  },
];
