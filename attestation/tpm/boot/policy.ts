/**
 * What an operator demands of a boot beside register values (docs/spec/tpm-boot.md, section 2). Every rule is said: one that is
 * left to the machine is `any` and never an absent member (W1).
 */

import { toHex } from '../../core/bytes.ts';
import { hexShape, integerShape, listShape, literalShape, objectShape } from '../../core/json-shape.ts';
import type { Shape } from '../../core/json-shape.ts';
import { AGENT_PCR } from '../agent-log/replay.ts';

/** `any`, or what the shape reads. */
function ruleShape<T>(shape: Shape<T>): Shape<T | 'any'> {
  return (value, path) => (value === 'any' ? value : shape(value, path));
}

const byReference = literalShape('reference', 'any');
const MAX_DIGESTS = 1024;
const sha256ListShape: Shape<ReadonlySet<string>> = digestsShape([32]);

function digestsShape(bytes: readonly number[]): Shape<ReadonlySet<string>> {
  const list = listShape({ minItems: 1, maxItems: MAX_DIGESTS }, hexShape({ bytes }));
  return (value, path) => new Set(list(value, path).map(toHex));
}

const agentShape = objectShape({
  pcr: integerShape({ min: AGENT_PCR.first, max: AGENT_PCR.last }),
  inferencePolicies: ruleShape(sha256ListShape),
  modelManifests: ruleShape(sha256ListShape),
});

const rulesShape = objectShape({
  secureBoot: literalShape('required', 'any'),
  signers: ruleShape(digestsShape([32, 48])),
  revoked: ruleShape(sha256ListShape),
  images: byReference,
  loader: byReference,
  uki: byReference,
  mok: byReference,
  files: byReference,
  agent: ruleShape(agentShape),
});

/**
 * The rules of a boot. Digests are lower-case hexadecimal.
 *
 * - `secureBoot`: whether the firmware has to have checked signatures (PCR 7).
 * - `signers`: who may have vouched for what was started: SHA-256 of certificates, or digests of authorities as they were
 *   measured (PCR 7).
 * - `revoked`: what the firmware's deny list has to name at least (PCR 7).
 * - `images`: what the firmware and the loaders started (PCR 4).
 * - `loader`: files, commands and command lines (PCR 8, 9 and 12).
 * - `uki`: the sections of the unified kernel image (PCR 11).
 * - `mok`: the keys and switches of shim (PCR 14).
 * - `files`: what the kernel measured when it was opened (PCR 10).
 * - `agent`: the agent's program by reference, and what it was told to serve.
 */
export type BootPolicy = ReturnType<typeof rulesShape>;
export type AgentPolicy = Exclude<BootPolicy['agent'], 'any'>;

/** A boot that nothing is demanded of is written `any`, so that there is one way to say it. */
export const bootPolicyShape: Shape<BootPolicy | 'any'> = ruleShape(rulesShape);

/** Registers that each rule reads. PCR 0 is among those of every boot: without it the firmware did not measure. */
const REGISTERS: Readonly<Record<Exclude<keyof BootPolicy, 'agent'>, readonly number[]>> = {
  secureBoot: [7],
  signers: [7],
  revoked: [7],
  images: [4],
  loader: [8, 9, 12],
  uki: [11],
  mok: [14],
  files: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
};
/** Rules that are judged by other logs than the firmware's. */
const OTHER_LOGS: ReadonlySet<string> = new Set(['files', 'agent']);

/** Names of the rules that demand something. */
export function demandedRules(boot: BootPolicy | 'any'): readonly (keyof BootPolicy)[] {
  if (boot === 'any') return [];
  return (Object.keys(boot) as (keyof BootPolicy)[]).filter((name) => boot[name] !== 'any');
}

/** Rules that are judged by reference values. */
export function referencedRules(boot: BootPolicy | 'any'): readonly (keyof BootPolicy)[] {
  if (boot === 'any') return [];
  return demandedRules(boot).filter((name) => boot[name] === 'reference' || name === 'agent');
}

/** Registers that the boot event log has to explain, ascending. */
export function loggedRegisters(boot: BootPolicy | 'any'): readonly number[] {
  const read = demandedRules(boot).flatMap((name) =>
    OTHER_LOGS.has(name) ? [] : REGISTERS[name as keyof typeof REGISTERS],
  );
  return read.length === 0 ? [] : [...new Set([0, ...read])].sort((left, right) => left - right);
}

/** Registers that have to be quoted for the rules to be judged. */
export function requiredRegisters(boot: BootPolicy | 'any'): readonly number[] {
  if (boot === 'any') return [];
  const files = boot.files === 'any' ? [] : REGISTERS.files;
  const agent = boot.agent === 'any' ? [] : [boot.agent.pcr];
  return [...new Set([...loggedRegisters(boot), ...files, ...agent])];
}

/** Which logs the rules are judged by: what a challenge asks for (BC-2). */
export interface WantedLogs {
  readonly eventLog: boolean;
  readonly imaList: boolean;
  readonly agentPcr: number | null;
}

export function wantedLogs(boot: BootPolicy | 'any'): WantedLogs {
  if (boot === 'any') return { eventLog: false, imaList: false, agentPcr: null };
  return {
    eventLog: loggedRegisters(boot).length > 0,
    imaList: boot.files !== 'any',
    agentPcr: boot.agent === 'any' ? null : boot.agent.pcr,
  };
}
