/**
 * Edits of a single report and its certificates, read from the words of the manifest. A phrase that no rule here, in
 * vector-snp-collateral.ts, vector-snp-azure.ts or vector-snp-lookalike.ts understands is reported as such: the run then disagrees.
 */

import { fromHex } from '../../attestation/core/bytes.ts';
import { readKeyCertificate } from '../../attestation/sev-snp/key-certificate.ts';
import { readTcb } from '../../attestation/sev-snp/tcb.ts';
import { certificateFields } from './vector-snp-fields.ts';
import type { SnpMutation, SnpVector } from './vector-snp-manifest.ts';
import { ask, isFleetSigned, minimumOf, outcomeOf, posixSeconds, snpFile } from './vector-snp-question.ts';
import type { Outcome, Question, SnpSet } from './vector-snp-question.ts';

/**
 * What an edit leads to. `not authentic`: refused before appraisal, as malformed or inauthentic, because a policy that
 * refuses for another reason would hide a signature that is not checked. `as before`: the same as without the edit.
 */
export type Expectation = 'accepted' | 'refused' | 'not authentic' | 'as before';

/** One change, and how to find out what comes of it. */
export interface EditCase {
  /** Tells several cases of one mutation apart; empty when there is one. */
  readonly label: string;
  readonly expected: Expectation;
  readonly judge: () => Promise<Outcome>;
}

/** One vector to which an edit applies. */
export interface EditSubject {
  readonly set: SnpSet;
  readonly vector: SnpVector;
  readonly question: Question;
  readonly mutation: SnpMutation;
}

/** How edits that match a phrase are carried out. */
export interface EditRule<Subject> {
  readonly phrase: RegExp;
  readonly cases: (match: RegExpExecArray, subject: Subject) => readonly EditCase[];
}

const R_AT = 0x2a0;
const S_AT = 0x2e8;
const SCALAR_BYTES = 48;
/** Order of P-384 (FIPS 186-4, D.1.2.4). */
const ORDER = BigInt(
  '0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
);

function changedReport(
  { question }: EditSubject,
  change: (report: Uint8Array) => Uint8Array,
  expected: Expectation = 'not authentic',
  label = '',
): EditCase {
  return {
    label,
    expected,
    judge: () => ask({ ...question, report: change(question.report.slice()) }),
  };
}

const OPERATIONS: Readonly<Record<string, (old: number, operand: number) => number>> = {
  '^=': (old, operand) => old ^ operand,
  '|=': (old, operand) => old | operand,
  '&=': (old, operand) => old & operand,
  '=': (_old, operand) => operand,
};

/** `0, 1, 6 or 0xFF`; `0x1C, and 0x08..0x18 for the reserved values`. Remarks are passed over. */
function numbersIn(text: string): readonly number[] {
  const ranges = text.replace(/\(.*$/, '').matchAll(/(0x[0-9a-f]+|\d+)(?:\.\.(0x[0-9a-f]+|\d+))?/gi);
  return [...ranges].flatMap(([, first = '', last = first]) =>
    Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i),
  );
}

function editByte(at: number, operation: string, operand: number): (report: Uint8Array) => Uint8Array {
  const apply = OPERATIONS[operation];
  if (apply === undefined) throw new Error(`unknown operation ${operation}`);
  return (report) => {
    report[at] = apply(report[at] ?? 0, operand);
    return report;
  };
}

function exchange(report: Uint8Array, bytes: number, left: number, right: number): Uint8Array {
  const kept = report.slice(left, left + bytes);
  report.copyWithin(left, right, right + bytes);
  report.set(kept, right);
  return report;
}

function negatedS(report: Uint8Array): Uint8Array {
  const s = report.subarray(S_AT, S_AT + SCALAR_BYTES);
  const value = s.reduceRight((number, byte) => number * 256n + BigInt(byte), 0n);
  const negated = (ORDER - value).toString(16).padStart(2 * SCALAR_BYTES, '0');
  s.set(fromHex(negated, 's').reverse());
  return report;
}

function withKey(subject: EditSubject, certificate: Uint8Array): EditCase {
  const { question, vector } = subject;
  const kind = isFleetSigned(vector) ? 'vlek' : 'vcek';
  const certificates = { ...question.certificates, [kind]: certificate };
  return { label: '', expected: 'not authentic', judge: () => ask({ ...question, certificates }) };
}

function vectorById({ manifest }: SnpSet, id: string): SnpVector {
  const found = manifest.vectors.find((vector) => vector.id === id);
  if (found === undefined) throw new Error(`there is no vector ${id}`);
  return found;
}

function withCertificates(
  { question, set }: EditSubject,
  intermediate: string,
  ark: string | undefined,
): EditCase {
  const certificates = {
    ...question.certificates,
    intermediate: snpFile(set, intermediate),
    ...(ark !== undefined && { ark: snpFile(set, ark) }),
  };
  return { label: '', expected: 'not authentic', judge: () => ask({ ...question, certificates }) };
}

/** The Turin layout read as that of Milan: refused by its reserved bytes, or by the levels of the certificate. */
function otherLayout({ question }: EditSubject): EditCase {
  const judge = (): Promise<Outcome> =>
    outcomeOf(() => {
      const { tcb } = readKeyCertificate(question.certificates.vcek ?? new Uint8Array(), 'certificate');
      const read = readTcb('milan', question.report.subarray(0x180, 0x188), 'reportedTcb');
      return { outcome: read.snp === tcb.snp && read.microcode === tcb.microcode ? 'accepted' : 'differs' };
    });
  return { label: '', expected: 'not authentic', judge };
}

function validityCases({ question, vector }: EditSubject): readonly EditCase[] {
  const { not_before: from, not_after: until } = certificateFields(
    question.certificates[isFleetSigned(vector) ? 'vlek' : 'vcek'] ?? new Uint8Array(),
  );
  const at = (label: string, time: number): EditCase => ({
    label,
    expected: 'not authentic',
    judge: () => ask({ ...question, time }),
  });
  return [at('before', posixSeconds(String(from)) - 1), at('after', posixSeconds(String(until)) + 1)];
}

/** The minimum of a neighbour, high enough that it would refuse, beside one of the processor's own that does not. */
function neighboursMinimum({ question }: EditSubject, model: string): EditCase {
  const [own] = ownMinima(question);
  const family = String(own?.['processor']).slice(0, 2);
  const neighbour = minimumOf(`${family}-${model}-01`, { microcode: 255 });
  const minimumTcb = { sets: [], processors: [...ownMinima(question), neighbour] };
  const policy = { ...question.policy, minimumTcb };
  return { label: '', expected: 'accepted', judge: () => ask({ ...question, policy }) };
}

function ownMinima({ policy }: Question): readonly Readonly<Record<string, string>>[] {
  return (policy['minimumTcb'] as unknown as { processors: readonly Readonly<Record<string, string>>[] })
    .processors;
}

export const REPORT_RULES: readonly EditRule<EditSubject>[] = [
  {
    phrase: /^report\[(0x[0-9A-F]+|\d+)\] (\^=|\|=|&=|=) (.+)$/i,
    cases: ([, at, operation = '', values = ''], subject) => {
      const numbers = numbersIn(values);
      return numbers.map((value) =>
        changedReport(
          subject,
          editByte(Number(at), operation, value),
          'not authentic',
          numbers.length === 1 ? '' : `0x${value.toString(16)}`,
        ),
      );
    },
  },
  {
    phrase: /^report\[(0x[0-9A-F]+)\.\.(0x[0-9A-F]+)\] = (\d+)$/i,
    cases: ([, from, until, value], subject) => [
      changedReport(subject, (report) => report.fill(Number(value), Number(from), Number(until))),
    ],
  },
  {
    phrase: /with report\[(0x[0-9A-F]+)\] = (\d+)$/i,
    cases: ([, at, value], subject) => [changedReport(subject, editByte(Number(at), '=', Number(value)))],
  },
  {
    phrase: /^exchange the (\d+)-byte fields at (0x[0-9A-F]+) and (0x[0-9A-F]+)$/i,
    cases: ([, bytes, left, right], subject) => [
      changedReport(subject, (report) => exchange(report, Number(bytes), Number(left), Number(right))),
    ],
  },
  {
    phrase: /^reverse each (\d+)-byte value in place/,
    cases: ([, bytes], subject) => [
      changedReport(subject, (report) => {
        for (const at of [R_AT, S_AT]) report.subarray(at, at + Number(bytes)).reverse();
        return report;
      }),
    ],
  },
  {
    phrase: /^S := n - S/,
    cases: (_match, subject) => [changedReport(subject, negatedS, 'as before')],
  },
  {
    phrase: /^drop the last byte \/ append one byte$/,
    cases: (_match, subject) => [
      changedReport(subject, (report) => report.subarray(0, -1), 'not authentic', 'drop'),
      changedReport(subject, (report) => Uint8Array.of(...report, 0), 'not authentic', 'append'),
    ],
  },
  {
    phrase: /^use the V[CL]EK of ([a-z0-9-]+)/,
    cases: ([, id = ''], subject) => [
      withKey(subject, snpFile(subject.set, vectorById(subject.set, id).files.endorsement_cert)),
    ],
  },
  {
    phrase: /^use (\S+\.der) as the issuer$/,
    cases: ([, intermediate = ''], subject) => [withCertificates(subject, intermediate, undefined)],
  },
  {
    phrase: /^use (\S+\.der) and (\S+\.der)$/,
    cases: ([, intermediate = '', ark], subject) => [withCertificates(subject, intermediate, ark)],
  },
  {
    phrase: /^pin only (\S+)$/,
    cases: ([, name], { question }) => {
      const anchors = question.anchors.filter((anchor) => anchor.name === name);
      if (anchors.length !== 1) throw new Error(`there is no pin ${name}`);
      return [{ label: '', expected: 'not authentic', judge: () => ask({ ...question, anchors }) }];
    },
  },
  {
    phrase: /^check one second before not_before and one second after not_after$/,
    cases: (_match, subject) => validityCases(subject),
  },
  {
    phrase: /^parse the TCBs with the Milan\/Genoa layout$/,
    cases: (_match, subject) => [otherLayout(subject)],
  },
  {
    phrase: /^apply the microcode minimum of model ([0-9a-f]{2})h$/,
    cases: ([, model = ''], subject) => [neighboursMinimum(subject, model)],
  },
];
