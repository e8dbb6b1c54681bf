/**
 * Witness policies (C2SP tlog-policy; WT-6 to WT-9): which logs, which witnesses, and how many of them it takes. Written by
 * whoever trusts; nothing of a policy ever comes from a log.
 */

import { excerpt, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { isCosigner, isLogKey } from './checkpoint-signature.ts';
import { parseVerifierKey, type VerifierKey } from './verifier-key.ts';

export const witnessPolicyRefusals = defineRefusals('malformed', {
  'witness-policy-malformed': {
    means: 'A text is not a witness policy.',
    hint: 'Write lines of log, witness, group and one quorum, as C2SP tlog-policy says; every name before it is used.',
  },
});

export const witnessPolicyUseRefusals = defineRefusals('usage', {
  'witness-policy-log': {
    means: 'A witness policy names logs, and the log that it is used for is not among them.',
    hint: 'Take the policy that was made for this log, or add a line with its verifier key.',
  },
});

const MAX_POLICY_BYTES = 65_536;
/** The word for no quorum; it can name nothing. */
const NONE = 'none';

interface PolicyLog {
  readonly key: VerifierKey;
  readonly url: string | undefined;
}

export interface PolicyWitness {
  /** In this policy; the name of its key may be another. */
  readonly name: string;
  readonly key: VerifierKey;
  /** Where it takes checkpoints; needed only by whoever asks it. */
  readonly url: string | undefined;
}

interface PolicyGroup {
  readonly threshold: number;
  /** Names of witnesses and of groups that were defined before. */
  readonly members: readonly string[];
}

export interface WitnessPolicy {
  readonly logs: readonly PolicyLog[];
  readonly witnesses: readonly PolicyWitness[];
  readonly groups: ReadonlyMap<string, PolicyGroup>;
  /** Name of the witness or group that must have cosigned; undefined where nobody must. */
  readonly quorum: string | undefined;
}

/** What a reader demands of witnesses: a policy, or the stated choice to demand nothing. */
export type Witnessing = WitnessPolicy | 'not-required';

/**
 * Reads a policy.
 *
 * @param text from the operator
 * @throws RefusalError `witness-policy-malformed`, and those of `parseVerifierKey`
 */
export function parseWitnessPolicy(text: string, field: string): WitnessPolicy {
  if (toUtf8(text).length > MAX_POLICY_BYTES) refuse(field, `at most ${MAX_POLICY_BYTES} bytes`, 'more');
  // eslint-disable-next-line no-control-regex -- control characters are what a policy must not hold
  if (!text.isWellFormed() || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) {
    refuse(field, 'text without control characters', 'another character');
  }
  const reader = new PolicyReader();
  const lines = text.replace(/\n$/, '').split('\n');
  for (const [i, line] of lines.entries()) reader.take(line, `${field}:${i + 1}`);
  return reader.finish(field);
}

class PolicyReader {
  private readonly logs: PolicyLog[] = [];
  private readonly witnesses: PolicyWitness[] = [];
  private readonly groups = new Map<string, PolicyGroup>();
  /** Names that are defined and belong to no group yet, and those that belong to one. */
  private readonly names = new Map<string, 'free' | 'member'>();
  private quorum: { readonly name: string | undefined } | undefined;

  /** One line; empty ones and comments say nothing. */
  take(line: string, field: string): void {
    const [keyword, ...words] = line.split(/[ \t]+/).filter((word) => word !== '');
    if (keyword === undefined || keyword.startsWith('#')) return;
    if (keyword === 'log') this.takeLog(words, field);
    else if (keyword === 'witness') this.takeWitness(words, field);
    else if (keyword === 'group') this.takeGroup(words, field);
    else if (keyword === 'quorum') this.takeQuorum(words, field);
    else refuse(field, 'log, witness, group or quorum', excerpt(keyword));
  }

  finish(field: string): WitnessPolicy {
    const { logs, witnesses, groups, quorum } = this;
    if (quorum === undefined) refuse(field, 'a quorum line', 'none');
    return { logs, witnesses, groups, quorum: quorum.name };
  }

  private takeLog([vkey, url, ...rest]: readonly string[], field: string): void {
    if (vkey === undefined || rest.length > 0) refuse(field, 'log <vkey> [<url>]', 'other fields');
    const key = parseVerifierKey(vkey, field);
    if (!isLogKey(key)) refuse(field, 'the key of a log', key.algorithm);
    refuseSecond(this.logs, key, field);
    this.logs.push({ key, url });
  }

  private takeWitness([name, vkey, url, ...rest]: readonly string[], field: string): void {
    if (name === undefined || vkey === undefined || rest.length > 0) {
      refuse(field, 'witness <name> <vkey> [<url>]', 'other fields');
    }
    const key = parseVerifierKey(vkey, field);
    if (!isCosigner(key)) refuse(field, 'the key of a cosigner', key.algorithm);
    refuseSecond(this.witnesses, key, field);
    this.define(name, field);
    this.witnesses.push({ name, key, url });
  }

  private takeGroup([name, threshold, ...members]: readonly string[], field: string): void {
    if (name === undefined || threshold === undefined || members.length === 0) {
      refuse(field, 'group <name> all|any|<k> <member>…', 'other fields');
    }
    for (const member of members) {
      const place = this.names.get(member);
      if (place !== 'free') refuse(field, 'members defined before, each in one group', excerpt(member));
      this.names.set(member, 'member');
    }
    this.define(name, field);
    this.groups.set(name, { threshold: readThreshold(threshold, members.length, field), members });
  }

  private takeQuorum([name, ...rest]: readonly string[], field: string): void {
    if (this.quorum !== undefined) refuse(field, 'one quorum line', 'a second one');
    if (name === undefined || rest.length > 0) refuse(field, 'quorum <name>|none', 'other fields');
    if (name !== NONE && !this.names.has(name)) refuse(field, 'a name defined before', excerpt(name));
    this.quorum = { name: name === NONE ? undefined : name };
  }

  private define(name: string, field: string): void {
    if (name === NONE || this.names.has(name)) refuse(field, 'a name of its own', excerpt(name));
    this.names.set(name, 'free');
  }
}

function readThreshold(text: string, members: number, field: string): number {
  if (text === 'all') return members;
  if (text === 'any') return 1;
  const threshold = /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : 0;
  if (threshold < 1 || threshold > members) refuse(field, `a threshold from 1 to ${members}`, excerpt(text));
  return threshold;
}

/** One key under two names would count twice. */
function refuseSecond(
  known: readonly { readonly key: VerifierKey }[],
  key: VerifierKey,
  field: string,
): void {
  const digits = toHex(key.publicKey);
  if (known.some((other) => toHex(other.key.publicKey) === digits)) {
    refuse(field, 'each public key once', excerpt(key.name));
  }
}

/** Whether the quorum is met when the witnesses of these names have cosigned. */
export function isQuorumMet({ groups, quorum }: WitnessPolicy, cosigners: ReadonlySet<string>): boolean {
  const holds = (name: string): boolean => {
    const group = groups.get(name);
    return group === undefined ? cosigners.has(name) : group.members.filter(holds).length >= group.threshold;
  };
  return quorum === undefined || holds(quorum);
}

/** @param keys of the log that the caller pins @throws RefusalError `witness-policy-log` (WT-9) */
export function requirePolicyForLog(
  { logs }: WitnessPolicy,
  keys: readonly VerifierKey[],
  field: string,
): void {
  const known = new Set(logs.map(({ key }) => toHex(key.publicKey)));
  if (logs.length === 0 || keys.some(({ publicKey }) => known.has(toHex(publicKey)))) return;
  throw witnessPolicyUseRefusals.error('witness-policy-log', {
    field,
    expected: keys.map(({ name }) => excerpt(name)).join(', '),
    found: logs.map(({ key }) => excerpt(key.name)).join(', '),
  });
}

function refuse(field: string, expected: string, found: string): never {
  throw witnessPolicyRefusals.error('witness-policy-malformed', { field, expected, found });
}
