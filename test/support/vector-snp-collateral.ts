/** Edits of what comes beside a report: certificates on their own, revocation lists, and the host's certificate table. */

import { createHash } from 'node:crypto';

import { equalBytes, fromHex } from '../../attestation/core/bytes.ts';
import { readCertificateList, verifyCertificateList } from '../../attestation/core/certificate-list.ts';
import { verifyCertificatePath } from '../../attestation/core/certificate-path.ts';
import { judge } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { amdAnchors } from '../../attestation/sev-snp/anchors/amd-roots.ts';
import {
  certificateDer,
  CertificateGuid,
  readCertificateTable,
  writeCertificateTable,
} from '../../attestation/sev-snp/certificate-table.ts';
import type { CertificateTableEntry } from '../../attestation/sev-snp/certificate-table.ts';
import { collateralNames } from '../../attestation/sev-snp/chain.ts';
import { certificatesOfTable } from '../../attestation/sev-snp/evidence.ts';
import { readKeyCertificate } from '../../attestation/sev-snp/key-certificate.ts';
import { judgeRevocation } from '../../attestation/sev-snp/revocation.ts';
import type { EditCase, EditRule, EditSubject, Expectation } from './vector-snp-edits.ts';
import type { SnpManifest, SnpMutation, SnpVector } from './vector-snp-manifest.ts';
import { ask, outcomeOf, posixSeconds, snpFile } from './vector-snp-question.ts';
import type { Outcome, Question, SnpSet } from './vector-snp-question.ts';
import type { VectorLine } from './vector-runner.ts';

/** What an edit applies to that is about no vector: the base is a file of the manifest, or made. */
export interface CollateralSubject {
  readonly set: SnpSet;
  readonly mutation: SnpMutation;
}

function pathOfSubject({ certificates }: SnpManifest, commonName: string): string {
  const found = Object.entries(certificates).find(([, { subject_cn: subject }]) => subject === commonName);
  if (found === undefined) throw new Error(`no certificate of ${commonName}`);
  return found[0];
}

function listOf({ set: { manifest }, mutation }: CollateralSubject) {
  const list = manifest.crls[mutation.base];
  if (list === undefined) throw new Error(`${mutation.base} is no revocation list`);
  return list;
}

/** The verdict on an authority by the list of its root, in the words of the verifier. */
function revocationOf(subject: CollateralSubject, authority: string, time: number): Promise<Outcome> {
  const { set, mutation } = subject;
  const root = listOf(subject).issuer_cn;
  const chip = set.manifest.vectors.find(
    ({ files }) => set.manifest.certificates[files.root]?.subject_cn === root,
  );
  if (chip === undefined) throw new Error(`no vector under ${root}`);
  return outcomeOf(() =>
    judge(async (checks) => {
      const key = readKeyCertificate(snpFile(set, chip.files.endorsement_cert), 'certificate');
      const ark = readCertificate(snpFile(set, pathOfSubject(set.manifest, root)), 'ark');
      const intermediate = readCertificate(snpFile(set, authority), 'intermediate');
      const anchor = amdAnchors[0];
      if (anchor === undefined) throw new Error('no anchor');
      const collateral = new Map([
        [collateralNames.revocationList(key.line), snpFile(set, mutation.base)] as const,
      ]);
      const chain = { key, intermediate, ark, anchor };
      const status = await judgeRevocation(chain, { collateral, time }, checks);
      if (status === undefined) throw new Error('the list was not looked at');
      return status;
    }),
  );
}

function listCase(
  subject: CollateralSubject,
  root: string,
  time: number,
  change: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
): EditCase {
  const { set, mutation } = subject;
  const judgeList = async (): Promise<void> => {
    const list = readCertificateList(change(snpFile(set, mutation.base)), 'crl');
    const issuer = readCertificate(snpFile(set, pathOfSubject(set.manifest, root)), 'ark');
    await verifyCertificateList(list, issuer, time, 'crl');
  };
  return { label: '', expected: 'not authentic', judge: () => outcomeOf(judgeList) };
}

/** Flips the lowest bit of the first revoked serial number, wherever it stands in the list. */
function flipSerial(subject: CollateralSubject): (bytes: Uint8Array) => Uint8Array {
  const serial = fromHex(evenHex(listOf(subject).revoked[0]?.serial ?? ''), 'serial');
  return (bytes) => {
    const changed = bytes.slice();
    const at = changed.findIndex((_, i) => equalBytes(changed.subarray(i, i + serial.length), serial));
    if (at < 0) throw new Error('the serial number is not in the list');
    const last = at + serial.length - 1;
    changed[last] = (changed[last] ?? 0) ^ 1;
    return changed;
  };
}

function evenHex(text: string): string {
  const digits = text.replace(/^0x/, '');
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

/** Any time at which the list is in force. */
function timeInForce(subject: CollateralSubject): number {
  return posixSeconds(listOf(subject).this_update) + 1;
}

export const COLLATERAL_RULES: readonly EditRule<CollateralSubject>[] = [
  {
    phrase: /^check (\S+\.der) at (\d{4}-\d{2}-\d{2})$/,
    cases: ([, path = '', date = ''], subject) => {
      const accepted = /(\S+\.der) at the same time: accept/.exec(subject.mutation.expect)?.[1];
      const at = (label: string, authority: string, expected: Expectation): EditCase => ({
        label,
        expected,
        judge: () => revocationOf(subject, authority, posixSeconds(date)),
      });
      return [
        at('revoked', path, 'not authentic'),
        ...(accepted === undefined ? [] : [at('not revoked', accepted, 'accepted')]),
      ];
    },
  },
  {
    phrase: /^use it at (\d{4}-\d{2}-\d{2})$/,
    cases: ([, date = ''], subject) => [listCase(subject, listOf(subject).issuer_cn, posixSeconds(date))],
  },
  {
    phrase: /^offer it as the (\S+) CRL$/,
    cases: ([, line = ''], subject) => [listCase(subject, `ARK-${line}`, timeInForce(subject))],
  },
  {
    phrase: /^flip one bit of the serial of the entry$/,
    cases: (_match, subject) => [
      listCase(subject, listOf(subject).issuer_cn, timeInForce(subject), flipSerial(subject)),
    ],
  },
  {
    phrase: /^none$/,
    cases: (_match, subject) => [certificateCase(subject)],
  },
];

/** A certificate as it is, under the authorities of the issuer that it names. */
function certificateCase({ set, mutation }: CollateralSubject): EditCase {
  const { manifest } = set;
  const stated = manifest.certificates[mutation.base];
  if (stated === undefined) throw new Error(`${mutation.base} is no certificate`);
  const issuer = pathOfSubject(manifest, stated.issuer_cn);
  const root = pathOfSubject(manifest, manifest.certificates[issuer]?.issuer_cn ?? '');
  const judgeCertificate = async (): Promise<void> => {
    const bytes = snpFile(set, mutation.base);
    await verifyCertificatePath(readCertificate(bytes, 'certificate'), {
      intermediates: [snpFile(set, issuer), snpFile(set, root)],
      anchors: amdAnchors,
      time: posixSeconds(stated.not_before) + 1,
      validity: 'enforce',
      understoodLeafExtensions: [],
    });
    readKeyCertificate(bytes, 'certificate');
  };
  return { label: '', expected: 'not authentic', judge: () => outcomeOf(judgeCertificate) };
}

interface StatedEntry {
  readonly guid: string;
  readonly length: number;
  readonly der_sha256: string;
}

function auxblobOf(set: SnpSet, { files }: SnpVector): Uint8Array {
  if (files.auxblob === undefined) throw new Error('a vector without auxblob');
  return snpFile(set, files.auxblob);
}

/** The table is read as the manifest says, and its certificates do for the report. */
export async function auxblobLine(set: SnpSet, vector: SnpVector, question: Question): Promise<VectorLine> {
  const table = auxblobOf(set, vector);
  const stated = vector.expected['auxblob_entries'] as readonly StatedEntry[];
  const expected = stated.map(({ guid, length, der_sha256: digest }) => [
    guid.replaceAll('-', ''),
    length,
    digest,
  ]);
  const found = readCertificateTable(table, 'table').map(({ guid, content }) => [
    guid,
    content.length,
    createHash('sha256').update(certificateDer(content, 'entry')).digest('hex'),
  ]);
  const { codes, family } = await ask({ ...question, certificates: certificatesOfTable(table, 'table') });
  const isSame = JSON.stringify(expected) === JSON.stringify(found);
  return {
    subject: `${vector.id}#auxblob`,
    expected: `${stated.length} entries that do for the report`,
    got: `${isSame ? 'these entries' : 'others'}, ${family}`,
    code: codes.join(' ') || '-',
    agrees: isSame && family === 'accepted',
  };
}

const HEADER_ENTRY_BYTES = 24;

/** A copy of the table whose first entry has another place. */
function placed(table: Uint8Array, offset: number | undefined, length: number | undefined): Uint8Array {
  const changed = table.slice();
  const view = new DataView(changed.buffer);
  if (offset !== undefined) view.setUint32(16, offset, true);
  if (length !== undefined) view.setUint32(20, length, true);
  return changed;
}

function manyEntries(count: number): Uint8Array {
  const table = new Uint8Array((count + 2) * HEADER_ENTRY_BYTES);
  const view = new DataView(table.buffer);
  for (let i = 0; i < count; i += 1) {
    view.setUint32(i * HEADER_ENTRY_BYTES, i + 1, false);
    view.setUint32(i * HEADER_ENTRY_BYTES + 16, table.length - 1, true);
    view.setUint32(i * HEADER_ENTRY_BYTES + 20, 1, true);
  }
  return table;
}

/** How each phrase about the bounds of a table changes it. */
const TABLE_EDITS: readonly (readonly [RegExp, (table: Uint8Array, match: RegExpExecArray) => Uint8Array])[] =
  [
    [
      /^(?:entry 0: )?offset (0x[0-9a-f]+) length (0x[0-9a-f]+)/i,
      (table, [, offset, length]) => placed(table, Number(offset), Number(length)),
    ],
    [/^offset (\d+)/, (table, [, offset]) => placed(table, Number(offset), undefined)],
    [/^length beyond the end/, (table) => placed(table, undefined, table.length)],
    [
      /^no all-zero terminator/,
      (table) => table.slice(0, readCertificateTable(table, 'table').length * HEADER_ENTRY_BYTES),
    ],
    [
      /^the same GUID twice/,
      (table) => {
        const changed = table.slice();
        changed.copyWithin(HEADER_ENTRY_BYTES, 0, 16);
        return changed;
      },
    ],
    [/^(\d+) entries/, (_table, [, count]) => manyEntries(Number(count))],
  ];

/** Carries out the first edit whose phrase matches. */
export function applyPhrase<Result>(
  edits: readonly (readonly [RegExp, (bytes: Uint8Array, match: RegExpExecArray) => Result])[],
  phrase: string,
  bytes: Uint8Array,
): Result {
  for (const [pattern, edit] of edits) {
    const match = pattern.exec(phrase);
    if (match !== null) return edit(bytes, match);
  }
  throw new Error(`no rule for the edit: ${phrase}`);
}

function tableCase({ set, vector }: EditSubject, phrase: string): EditCase {
  const table = applyPhrase(TABLE_EDITS, phrase, auxblobOf(set, vector));
  return {
    label: phrase,
    expected: 'not authentic',
    judge: () => outcomeOf(() => certificatesOfTable(table, 'table')),
  };
}

/** The VCEK of another chip of the same line, in the place of the right one. */
function foreignKeyCase({ set, vector, question }: EditSubject): EditCase {
  const { hwid } = vector.expected.endorsement_cert;
  const other = set.manifest.vectors.find(
    ({ files, expected }) => files.root === vector.files.root && expected.endorsement_cert['hwid'] !== hwid,
  );
  if (other === undefined) throw new Error('no other chip of this line');
  const replace = (entry: CertificateTableEntry): CertificateTableEntry =>
    entry.guid === CertificateGuid.vcek
      ? { ...entry, content: snpFile(set, other.files.endorsement_cert) }
      : entry;
  const table = writeCertificateTable(readCertificateTable(auxblobOf(set, vector), 'table').map(replace));
  return {
    label: '',
    expected: 'not authentic',
    judge: () => ask({ ...question, certificates: certificatesOfTable(table, 'table') }),
  };
}

export const TABLE_RULES: readonly EditRule<EditSubject>[] = [
  {
    phrase: /^entry 0: .*$/,
    cases: ([phrases], subject) => phrases.split(/; /).map((phrase) => tableCase(subject, phrase)),
  },
  {
    phrase: /^replace the VCEK entry by another chip's VCEK$/,
    cases: (_match, subject) => [foreignKeyCase(subject)],
  },
];
