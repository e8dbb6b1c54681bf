import { Option, type Command } from 'commander';

import type { Check } from '../../../attestation/core/verdict.ts';
import { hexShape, mapShape } from '../../../attestation/core/json-shape.ts';
import { RefusalError } from '../../../attestation/core/refusal.ts';
import { readEventLog } from '../../../attestation/tpm/event-log/read.ts';
import { tpmHash, type TpmHash } from '../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../attestation/tpm/layout.ts';
import { readDocument, readInput } from '../evidence-files.ts';
import {
  bootChecks,
  eventLogTree,
  eventLogViewChecks,
  registerChecks,
  treeLines,
} from '../event-log-tree.ts';
import { print } from '../options.ts';

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
  ];
  if (options.json === true) print(JSON.stringify({ ...tree, checks }));
  else for (const line of [...treeLines(tree), ...checks.map(checkLine)]) print(line);
  refuseFailure(checks);
}

async function readOther(path: string) {
  return readEventLog(await readInput(path, MAX_LOG_BYTES));
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
  const code = id === 'event-log-register' ? id : 'event-log-other-boot';
  const refusal = eventLogViewChecks.refusal(code, { field, expected, found });
  throw new RefusalError(eventLogViewChecks.family, refusal);
}
