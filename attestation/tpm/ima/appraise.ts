/**
 * Whether what was measured is what may run: every file of the proven entries is on the list that the policy names, with one
 * of its digests. A file that is not named is refused, and so is one that nobody can say the content of.
 */

import { equalBytes, excerpt, toHex } from '../../core/bytes.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { TpmHash } from '../hash.ts';
import type { ImaEntry } from './read.ts';

export const imaChecks = defineChecks('unacceptable', {
  'ima-boot-aggregate': {
    means: 'The first entry of a measurement list does not name the registers of this boot.',
    hint: 'Send the list of the present boot; its first entry is the digest over PCR 0 to 9.',
    protects: 'The list of another boot could be joined to this one.',
  },
  'ima-violation': {
    means: 'A file was changed while it was open, so that its measurement says nothing.',
    hint: 'Find out who wrote to the file; boot the machine again.',
    protects: 'A file could be exchanged after it was measured.',
  },
  'ima-algorithm': {
    means: 'A file was measured with a hash that is too weak.',
    hint: 'Set ima_hash=sha256 on the kernel command line.',
    protects: 'Two files with one digest could be made.',
  },
  'ima-file': {
    means: 'A file was opened that is not on the list of what may run, or with other content.',
    hint: 'Remove the file, or have the operator add its digest to the reference values.',
    protects: 'Anything could be executed beside the agent.',
  },
});

const BOOT_AGGREGATE = 'boot_aggregate';
const STRONG: ReadonlySet<string> = new Set(['sha256', 'sha384', 'sha512']);
/** The list may be long; that many of the files that are not allowed tell what is wrong. */
const MAX_SHOWN = 8;

/** Digests by path. The algorithm follows from their length. */
export type AllowedFiles = ReadonlyMap<string, readonly Uint8Array[]>;

/**
 * @param entries from `provenEntries`
 * @param registers PCR 0 to 9 of the bank by an authentic quote
 */
export function appraiseIma(
  entries: readonly ImaEntry[],
  bank: TpmHash,
  registers: ReadonlyMap<number, Uint8Array>,
  allowed: AllowedFiles,
  checks: Checklist,
): void {
  const [first, ...files] = entries;
  noteBootAggregate(first, bank, registers, checks);
  noteFiles(
    'ima-violation',
    files,
    ({ isViolation }) => !isViolation,
    'no file written while it was open',
    checks,
  );
  const isStrong = ({ algorithm }: ImaEntry): boolean => STRONG.has(algorithm);
  noteFiles('ima-algorithm', files, isStrong, [...STRONG].join(', '), checks);
  noteFiles('ima-file', files, (entry) => isAllowed(entry, allowed), 'files of the reference values', checks);
}

/** Since Linux 5.8 the aggregate of a bank other than SHA-1 is taken over PCR 0 to 9. */
function noteBootAggregate(
  first: ImaEntry | undefined,
  bank: TpmHash,
  registers: ReadonlyMap<number, Uint8Array>,
  checks: Checklist,
): void {
  const values = Array.from({ length: 10 }, (_, pcr) => registers.get(pcr));
  const known = values.filter((value) => value !== undefined);
  const hash = bank.digest.create();
  for (const value of known) hash.update(value);
  const aggregate = hash.digest();
  const isTied =
    known.length === values.length &&
    first?.path === BOOT_AGGREGATE &&
    first.algorithm === bank.bank &&
    equalBytes(first.digest, aggregate);
  checks.note(imaChecks, 'ima-boot-aggregate', isTied, {
    field: 'ima[0]',
    expected: known.length === values.length ? `${bank.bank}:${toHex(aggregate)}` : 'quoted PCR 0 to 9',
    found:
      first === undefined ? 'no entry' : `${first.algorithm}:${toHex(first.digest)} ${excerpt(first.path)}`,
  });
}

function isAllowed({ path, digest }: ImaEntry, allowed: AllowedFiles): boolean {
  return allowed.get(path)?.some((known) => equalBytes(known, digest)) ?? false;
}

function noteFiles(
  code: keyof typeof imaChecks.codes,
  files: readonly ImaEntry[],
  holds: (entry: ImaEntry) => boolean,
  expected: string,
  checks: Checklist,
): void {
  const wrong = files.filter((entry) => !holds(entry));
  const shown = wrong
    .slice(0, MAX_SHOWN)
    .map(({ path, algorithm, digest }) => `${excerpt(path)} ${algorithm}:${toHex(digest).slice(0, 16)}…`);
  const more = wrong.length > shown.length ? [`and ${wrong.length - shown.length} more`] : [];
  checks.note(imaChecks, code, wrong.length === 0, {
    field: 'ima',
    expected,
    found: [...shown, ...more].join('; ') || `${files.length} files`,
  });
}
