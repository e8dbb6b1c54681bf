import { Option, type Command } from 'commander';

import type { Check } from '../../../attestation/core/verdict.ts';
import { hexShape, mapShape } from '../../../attestation/core/json-shape.ts';
import { readReferenceValues } from '../../../attestation/tpm/documents.ts';
import { readEventLog } from '../../../attestation/tpm/event-log/read.ts';
import { tpmHash, type TpmHash } from '../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../attestation/tpm/layout.ts';
import { readDocument, readInput } from '../evidence-files.ts';
import { bootPhases, phaseLines, type BootPhase } from '../event-log-phases.ts';
import { eventLogReferenceChecks, referenceChecks } from '../event-log-reference.ts';
import {
  bootChecks,
  eventLogTree,
  eventLogViewChecks,
  headLines,
  registerChecks,
  treeLines,
} from '../event-log-tree.ts';
import { print } from '../options.ts';
import { readReferenceDocument } from '../reference-documents.ts';

const MAX_LOG_BYTES = 4 * 1024 * 1024;

const BANKS = {
  sha256: tpmHash(Algorithm.sha256, 'bank'),
  sha384: tpmHash(Algorithm.sha384, 'bank'),
  sha512: tpmHash(Algorithm.sha512, 'bank'),
} as const;

interface EventLogOptions {
  readonly bank: keyof typeof BANKS;
  readonly pcrs?: string;
  readonly compare?: string;
  readonly reference?: string;
  readonly by: 'register' | 'phase';
  readonly json?: true;
}

/** `weightgate evidence event-log`: what booted on a machine, as its boot event log tells it. */
export function registerEventLog(evidence: Command): void {
  evidence
    .command('event-log')
    .description('show a boot event log as a tree, and compare it with registers or with another boot')
    .argument('<file>', 'as the kernel has it: /sys/kernel/security/tpm0/binary_bios_measurements')
    .addOption(
      new Option('--bank <name>', 'which digests to replay').choices(Object.keys(BANKS)).default('sha256'),
    )
    .option('--pcrs <file>', 'registers to compare with: {"0": "…", …}, values in hex')
    .option('--compare <file>', 'log of another boot: tells the first record that differs in each register')
    .option('--reference <file>', 'reference values: tells the first record that they do not know')
    .addOption(
      new Option('--by <what>', 'how lines are grouped').choices(['register', 'phase']).default('register'),
    )
    .option('--json', 'one JSON document in place of lines')
    .action(showEventLog);
}

async function showEventLog(file: string, options: EventLogOptions): Promise<void> {
  const bank = BANKS[options.bank];
  const log = readEventLog(await readInput(file, MAX_LOG_BYTES));
  const tree = eventLogTree(log, bank);
  const checks = [
    ...(options.pcrs === undefined ? [] : registerChecks(log, bank, await readRegisters(options.pcrs, bank))),
    ...(options.compare === undefined ? [] : bootChecks(log, await readOther(options.compare), bank)),
    ...(options.reference === undefined ? [] : referenceChecks(log, await readReference(options.reference))),
  ];
  const phases = bootPhases(log, bank);
  if (options.json === true) print(JSON.stringify({ ...tree, phases: phases.map(phaseDocument), checks }));
  else {
    const lines = options.by === 'phase' ? [...headLines(tree), ...phaseLines(phases)] : treeLines(tree);
    for (const line of [...lines, ...checks.map(checkLine)]) print(line);
  }
  refuseFailure(checks);
}

async function readOther(path: string) {
  return readEventLog(await readInput(path, MAX_LOG_BYTES));
}

async function readReference(path: string) {
  return readReferenceValues(await readReferenceDocument(path));
}

/** The records themselves stand once in the document, under their registers. */
function phaseDocument({ name, events }: BootPhase) {
  return { name, records: events.map(({ index }) => index) };
}

async function readRegisters(path: string, { bytes }: TpmHash): Promise<ReadonlyMap<number, Uint8Array>> {
  const shape = mapShape({ name: /^(?:[0-9]|1[0-9]|2[0-3])$/, maxMembers: 24 }, hexShape({ bytes: [bytes] }));
  const values = shape(await readDocument(path), 'pcrs');
  return new Map([...values].map(([pcr, value]) => [Number(pcr), value]));
}

function checkLine({ outcome, field, expected, found }: Check): string {
  return outcome === 'passed' ? `pass  ${field}` : `FAIL  ${field}: expected ${expected}, found ${found}`;
}

function refuseFailure(checks: readonly Check[]): void {
  const failed = checks.find(({ outcome }) => outcome === 'failed');
  if (failed === undefined) return;
  const { id, field, expected, found } = failed;
  const facts = { field, expected, found };
  if (id === 'event-log-reference') throw eventLogReferenceChecks.error(id, facts);
  throw eventLogViewChecks.error(id === 'event-log-register' ? id : 'event-log-other-boot', facts);
}
