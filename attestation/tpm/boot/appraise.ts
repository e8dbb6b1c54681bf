/**
 * Whether a boot is one that the operator wants (docs/spec/tpm-boot.md, section 5). Unlike the reading of its logs this goes on
 * after a failure, so that a person sees all that is wrong.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { excerpt, toHex } from '../../core/bytes.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { AgentEvent } from '../agent-log/read.ts';
import type { BootAuthority, SecureBootFacts } from '../event-log/secure-boot.ts';
import { UefiSignatureType } from '../event-log/uefi-variable.ts';
import type { UefiSignature } from '../event-log/uefi-variable.ts';
import { certificateOf } from './authority.ts';
import type { BootFacts } from './facts.ts';
import type { AgentPolicy, BootPolicy } from './policy.ts';

export const bootChecks = defineChecks('unacceptable', {
  'tpm-boot-secure-boot': {
    means: 'The firmware did not check signatures of what it started.',
    hint: 'Turn Secure Boot on in the firmware’s setup, with keys enrolled and neither audit nor setup mode.',
    protects: 'Anything at all could be started.',
  },
  'tpm-boot-signer': {
    means: 'Something was started on the word of an authority that the policy does not name.',
    hint: 'Remove the key from the machine, or add its certificate to the policy’s signers.',
    protects: 'Whoever has any key that the firmware knows could choose what starts.',
  },
  'tpm-boot-revocations': {
    means: 'The firmware’s deny list lacks entries that the policy demands.',
    hint: 'Update the deny list (dbx), for example with fwupd.',
    protects: 'A boot loader with a known hole could be started by its old signature.',
  },
  'tpm-boot-agent-subject': {
    means: 'The agent measured an inference policy or a model that the policy does not name.',
    hint: 'Start the machine again and serve what the policy names, or have the policy name it.',
    protects: 'An agent could have served something else since the machine started.',
  },
});

/** Rules that no reference value is needed for. */
export function appraiseBoot(facts: BootFacts, policy: BootPolicy, checks: Checklist): void {
  const { secureBoot, agent } = facts;
  if (agent !== null && policy.agent !== 'any') noteSubjects(agent, policy.agent, checks);
  if (secureBoot === null) return;
  if (policy.secureBoot === 'required') noteSecureBoot(secureBoot, checks);
  if (policy.signers !== 'any') noteSigners(secureBoot, policy.signers, checks);
  if (policy.revoked !== 'any') noteRevocations(secureBoot, policy.revoked, checks);
}

function noteSubjects(agent: readonly AgentEvent[], policy: AgentPolicy, checks: Checklist): void {
  const allowed = { 'inference-policy': policy.inferencePolicies, 'model-manifest': policy.modelManifests };
  for (const [kind, rule] of Object.entries(allowed)) {
    if (rule === 'any') continue;
    const measured = agent.filter((event) => event.kind === kind).map(({ digest }) => toHex(digest));
    const strange = measured.find((digest) => !rule.has(digest));
    checks.note(bootChecks, 'tpm-boot-agent-subject', strange === undefined, {
      field: `agentLog ${kind}`,
      expected: [...rule].join(' or '),
      found: strange ?? `${measured.length} of these`,
    });
  }
}

/** Variables under which the firmware checks nothing although Secure Boot reads as on. */
const OPEN_MODES: ReadonlySet<string> = new Set(['AuditMode', 'SetupMode']);

function noteSecureBoot({ state, platformKey, others }: SecureBootFacts, checks: Checklist): void {
  const open = others.filter(({ name, data }) => OPEN_MODES.has(name) && data.some((byte) => byte !== 0));
  const found = [
    state,
    ...(platformKey.length === 0 ? ['without a platform key'] : []),
    ...open.map(({ name }) => `in ${name}`),
  ];
  checks.note(bootChecks, 'tpm-boot-secure-boot', found.join() === 'enabled', {
    field: 'eventLog SecureBoot',
    expected: 'enabled',
    found: found.join(', '),
  });
}

/** An authority counts by its certificate or by its digest as it was measured. */
function noteSigners(
  { driverAuthorities, authorities }: SecureBootFacts,
  signers: ReadonlySet<string>,
  checks: Checklist,
): void {
  for (const authority of [...driverAuthorities, ...authorities]) {
    const certificate = certificateOf(authority);
    const names = [
      toHex(authority.digest),
      ...(certificate === undefined ? [] : [toHex(sha256(certificate))]),
    ];
    checks.note(
      bootChecks,
      'tpm-boot-signer',
      names.some((name) => signers.has(name)),
      {
        field: `eventLog[${authority.index}]`,
        expected: 'an authority that the policy names',
        found: describeAuthority(authority, names),
      },
    );
  }
}

function describeAuthority({ variable }: BootAuthority, names: readonly string[]): string {
  const name =
    variable === undefined ? 'an authority that its digest does not cover' : excerpt(variable.name);
  return `${name}: ${names.join(' or certificate ')}`;
}

function noteRevocations(
  { forbidden }: SecureBootFacts,
  revoked: ReadonlySet<string>,
  checks: Checklist,
): void {
  const known = new Set(forbidden.map(revokedDigest));
  const missing = [...revoked].filter((digest) => !known.has(digest));
  const first = missing[0];
  checks.note(bootChecks, 'tpm-boot-revocations', first === undefined, {
    field: 'eventLog dbx',
    expected: `${revoked.size} entries of the policy`,
    found:
      first === undefined ? `all of them among ${known.size}` : `${missing.length} missing, first ${first}`,
  });
}

const SHA256_BYTES = 32;

/** The hash that an entry denies, of an image or of a certificate; a whole certificate counts by its own. */
function revokedDigest({ type, data }: UefiSignature): string {
  return type === UefiSignatureType.x509 ? toHex(sha256(data)) : toHex(data.subarray(0, SHA256_BYTES));
}
