/** `weightgate reference record`: what a machine that is known to be good measured, as a reference document. */

import type { Command } from 'commander';

import { fromHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { Checklist } from '../../attestation/core/verdict.ts';
import { readBoot } from '../../attestation/tpm/boot/facts.ts';
import { bootPolicyShape, requiredRegisters, wantedLogs } from '../../attestation/tpm/boot/policy.ts';
import { recordBoot } from '../../attestation/tpm/boot/recording.ts';
import { readReferenceValues } from '../../attestation/tpm/documents.ts';
import { NO_LOGS } from '../../attestation/tpm/evidence.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';
import { readCurrentPcrs } from '../agent/tpm/current-pcrs.ts';
import { readEventLogOf, readImaListOf } from '../agent/tpm/measurement-logs.ts';
import { writeCanonicalFile } from '../platform/canonical-file.ts';
import { systemClock } from '../platform/clock.ts';
import { collectDigests, displayNameArgument, identifierArgument } from './arguments.ts';
import { usageRefusals } from './failure.ts';
import { print, tpmEventLogOption, tpmImaListOption } from './options.ts';

/** Rules whose reference values the logs of a machine tell. */
const RECORDED_RULES = ['images', 'loader', 'uki', 'mok', 'files'] as const;
type RecordedRule = (typeof RECORDED_RULES)[number];

interface RecordOptions {
  readonly tpm: string;
  readonly tpmEventLog: string;
  readonly tpmImaList: string;
  readonly pcrs: readonly number[];
  readonly boot: readonly RecordedRule[];
  readonly agentProgram: readonly string[];
  readonly name: string;
  readonly source: string;
  readonly out: string;
}

function parsePcrs(text: string): readonly number[] {
  const pcrs = text.split(',').map((number) => (/^(?:0|[1-9][0-9]?)$/.test(number) ? Number(number) : -1));
  if (pcrs.every((pcr) => pcr >= 0 && pcr <= 23)) return pcrs;
  throw usageRefusals.error('argument-invalid', {
    field: '--pcrs',
    expected: 'numbers from 0 to 23, joined by commas',
    found: text,
  });
}

function parseRules(text: string): readonly RecordedRule[] {
  return text.split(',').map((name) => {
    const rule = RECORDED_RULES.find((known) => known === name);
    if (rule !== undefined) return rule;
    const expected = `of ${RECORDED_RULES.join(', ')}, joined by commas`;
    throw usageRefusals.error('argument-invalid', { field: '--boot', expected, found: name });
  });
}

async function recordReference(options: RecordOptions): Promise<void> {
  const values = options.pcrs.length === 0 ? {} : await readCurrentPcrs(options.tpm, options.pcrs);
  const document = {
    version: 2,
    class: 'tpm',
    name: options.name,
    bank: 'sha256',
    pcrs: Object.fromEntries(Object.entries(values).map(([pcr, value]) => [pcr, [value]])),
    boot: await bootOf(options),
    provenance: { source: options.source, recordedAt: systemClock.posixSeconds() },
  };
  readReferenceValues(document);
  await writeCanonicalFile(options.out, document, { overwrite: false });
  const boot = document.boot === null ? '' : ' and what was booted';
  print(`${Object.keys(values).length} PCR values${boot} written to ${options.out}`);
}

async function bootOf({ boot, agentProgram, ...options }: RecordOptions): Promise<JsonValue> {
  if (boot.length === 0 && agentProgram.length === 0) return null;
  const recorded = boot.length === 0 ? recordBoot(NOTHING) : await recordedBoot(boot, options);
  return { ...recorded, agentPrograms: [...agentProgram] };
}

const NOTHING = {
  secureBoot: null,
  images: null,
  loader: null,
  uki: null,
  mok: null,
  files: null,
  agent: null,
} as const;

/** Only logs that lead to the registers of this machine are recorded. */
async function recordedBoot(
  rules: readonly RecordedRule[],
  { tpm, tpmEventLog, tpmImaList }: Pick<RecordOptions, 'tpm' | 'tpmEventLog' | 'tpmImaList'>,
): Promise<Readonly<Record<string, JsonValue>>> {
  const policy = policyOf(rules);
  const files = { eventLog: tpmEventLog, imaList: tpmImaList };
  const wanted = wantedLogs(policy);
  const eventLog = wanted.eventLog ? await readEventLogOf(files) : null;
  const values = await readCurrentPcrs(tpm, requiredRegisters(policy));
  const imaList = wanted.imaList ? await readImaListOf(files) : null;
  const pcrs = new Map(Object.entries(values).map(([pcr, value]) => [Number(pcr), fromHex(value, pcr)]));
  const quoted = { bank: tpmHash(Algorithm.sha256, 'bank'), pcrs };
  return recordBoot(readBoot({ ...NO_LOGS, eventLog, imaList }, policy, quoted, new Checklist()));
}

function policyOf(rules: readonly RecordedRule[]) {
  const others = ['secureBoot', 'signers', 'revoked', 'agent', ...RECORDED_RULES];
  const document = {
    ...Object.fromEntries(others.map((name) => [name, 'any'])),
    ...Object.fromEntries(rules.map((name) => [name, 'reference'])),
  };
  const policy = bootPolicyShape(document, '--boot');
  if (policy === 'any') throw new TypeError('rules were read as none');
  return policy;
}

export function registerRecord(reference: Command): void {
  reference
    .command('record')
    .description('read the PCRs of a machine that is known to be good, and what its logs say of the boot')
    .requiredOption('--tpm <tcti>', 'the TPM, for example device:/dev/tpmrm0')
    .option('--pcrs <list>', 'PCR numbers, for example 0,2,4,7', parsePcrs, [])
    .option('--boot <list>', `rules to record for: ${RECORDED_RULES.join(', ')}`, parseRules, [])
    .option(
      '--agent-program <sha256>',
      'digest of an agent that may run (weightgate agent program); several times',
      collectDigests,
      [],
    )
    .addOption(tpmEventLogOption())
    .addOption(tpmImaListOption())
    .requiredOption('--name <name>', 'name of the reference values', identifierArgument)
    .requiredOption(
      '--source <text>',
      'where the machine comes from and who vouches for it',
      displayNameArgument,
    )
    .requiredOption('--out <file>', 'new file for the reference document')
    .action(recordReference);
}
