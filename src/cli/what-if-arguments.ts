/** The changes that `weightgate audit what-if` is asked about. */

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import {
  withModelHeld,
  withoutLab,
  withoutMachine,
  withoutReference,
  withPolicy,
  withValuesAdded,
  withValuesReplaced,
  type StateChange,
} from '../audit/what-if-changes.ts';
import { predicateSchemas, type ReleasePolicy } from '../governance/predicates.ts';
import { issueOf } from '../governance/reference-values.ts';
import { readStatement } from '../governance/statements.ts';
import { readConfiguration } from '../platform/configuration.ts';
import { readFileBounded } from '../platform/files.ts';
import { usageRefusals } from './failure.ts';
import { readReferenceSide } from './reference-diff.ts';

const MAX_FILE_BYTES = 48 * 1024;

export interface ChangeOptions {
  /** A statement, or settings and Cedar files as for `policy publish`. */
  readonly policy?: readonly string[];
  /** A statement, or the old and the new values. */
  readonly reference?: readonly string[];
  /** `kind=value` */
  readonly revoke?: readonly string[];
}

interface WantedChanges {
  readonly changes: readonly StateChange[];
  /** `class/name`: those that are no part of the state. */
  readonly authorities: ReadonlySet<string>;
}

const REVOCATIONS: ReadonlyMap<string, (value: string) => StateChange> = new Map([
  ['lab', withoutLab],
  ['machine', withoutMachine],
  ['model', withModelHeld],
  ['reference', withoutReference],
]);

const AUTHORITY = 'authority';

/** What `--revoke` can name. */
export const REVOCABLE = [...REVOCATIONS.keys(), AUTHORITY] as const;

/** @throws RefusalError `argument-invalid`, and what the files are refused for */
export async function readChanges({ policy, reference, revoke = [] }: ChangeOptions): Promise<WantedChanges> {
  const revoked = revoke.map(readRevocation);
  if ((reference?.length ?? 0) > 2) throw refuse('--reference', 'at most two files', `${reference?.length}`);
  const changes = [
    ...(policy === undefined ? [] : [withPolicy(await readPolicy(policy))]),
    ...(reference === undefined ? [] : [await readReferenceChange(reference)]),
    ...revoked.flatMap(({ kind, value }) => REVOCATIONS.get(kind)?.(value) ?? []),
  ];
  const authorities = revoked.filter(({ kind }) => kind === AUTHORITY).map(({ value }) => value);
  if (changes.length + authorities.length === 0) {
    throw refuse('what-if', '--policy, --reference or --revoke', 'none of them');
  }
  return { changes, authorities: new Set(authorities) };
}

function refuse(field: string, expected: string, found: string): Error {
  return usageRefusals.error('argument-invalid', { field, expected, found });
}

function readRevocation(text: string): { readonly kind: string; readonly value: string } {
  const at = text.indexOf('=');
  const kind = text.slice(0, Math.max(at, 0));
  const isKnown = kind === AUTHORITY || REVOCATIONS.has(kind);
  if (isKnown && at < text.length - 1) return { kind, value: text.slice(at + 1) };
  throw refuse('--revoke', `kind=value, the kind one of ${REVOCABLE.join(', ')}`, text);
}

const settingsSchema = predicateSchemas['release-policy/v1'].omit({ cedar: true, statedAt: true });

/** Nobody states it: a time is a member of the statement, and of no decision. */
const STATED_NEVER = 0;

async function readPolicy([path = '', ...cedarPaths]: readonly string[]): Promise<ReleasePolicy> {
  if (cedarPaths.length === 0) {
    const named = readStatement(withoutLineFeed(await readFileBounded(path, MAX_FILE_BYTES)));
    if (named.name === 'release-policy/v1') return named.predicate;
    throw refuse(
      path,
      'a statement of a release policy, or settings with Cedar files after them',
      named.name,
    );
  }
  const settings = await readConfiguration(path, settingsSchema);
  const texts: string[] = [];
  for (const cedarPath of cedarPaths) {
    texts.push(fromUtf8(await readFileBounded(cedarPath, MAX_FILE_BYTES), cedarPath));
  }
  return { ...settings, cedar: texts.join('\n'), statedAt: STATED_NEVER };
}

const LINE_FEED = 0x0a;

function withoutLineFeed(bytes: Uint8Array): Uint8Array {
  return bytes.at(-1) === LINE_FEED ? bytes.subarray(0, -1) : bytes;
}

async function readReferenceChange([path = '', nextPath]: readonly string[]): Promise<StateChange> {
  if (nextPath === undefined) {
    const named = readStatement(withoutLineFeed(await readFileBounded(path, MAX_FILE_BYTES)));
    if (named.name === 'reference-values/v1' || named.name === 'reference-values/v2') {
      return withValuesAdded(issueOf(named.predicate));
    }
    throw refuse(path, 'a statement about reference values, or the old and the new ones', named.name);
  }
  const [old, next] = [await readReferenceSide(path), await readReferenceSide(nextPath)];
  if (old.deviceClass !== next.deviceClass) {
    throw refuse(nextPath, `values of the class ${old.deviceClass}`, next.deviceClass);
  }
  return withValuesReplaced(old.deviceClass, old.values, next.values);
}
