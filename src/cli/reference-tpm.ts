/** `weightgate reference tpm`: the register values of a boot, computed from the files that it starts. */

import { InvalidArgumentError, Option, type Command } from 'commander';

import packageDocument from '../../package.json' with { type: 'json' };
import { fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { readReferenceValues } from '../../attestation/tpm/documents.ts';
import { tpmHash, type TpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';
import { expectBoot, type BootDescription, type ExpectedBoot } from '../../attestation/tpm/reference/boot.ts';
import { registerValues, type ExpectedEvent } from '../../attestation/tpm/reference/events.ts';
import { expectPhases, phasePath } from '../../attestation/tpm/reference/kernel-boot.ts';
import { writeCanonicalFile } from '../platform/canonical-file.ts';
import { systemClock } from '../platform/clock.ts';
import { collect, collectFiles, identifierArgument } from './arguments.ts';
import { usageRefusals } from './failure.ts';
import { print, remark } from './options.ts';
import { describeOptions, readBoot, type Artefact, type BootOptions } from './reference-tpm-files.ts';

const BANKS = { sha256: Algorithm.sha256, sha384: Algorithm.sha384 } as const;

interface TpmOptions extends BootOptions {
  readonly bank: keyof typeof BANKS;
  readonly phase: readonly string[];
  readonly name?: string;
  readonly json?: true;
  readonly out?: string;
}

/** Values by register: several where several phases were asked for. */
type Values = readonly (readonly [pcr: number, values: readonly string[]])[];

async function deriveReference(options: TpmOptions): Promise<void> {
  const { name, json, out } = options;
  if ((json === true || out !== undefined) && name === undefined) {
    throw usageRefusals.error('argument-invalid', {
      field: '--name',
      expected: 'a name for the reference values',
      found: 'none',
    });
  }
  const phases = options.phase.map(phasePath);
  const bank = tpmHash(BANKS[options.bank], '--bank');
  const { boot, artefacts } = await readBoot(options);
  remarkUnsigned(boot);
  const expected = expectBoot(boot, bank);
  const values = valuesAfter(expected, phases, bank);
  const document =
    name === undefined ? null : referenceDocument(name, { boot, expected, values, artefacts }, options);
  if (document !== null && out !== undefined) await writeCanonicalFile(out, document, { overwrite: false });
  if (document !== null && json === true) print(fromUtf8(encodeCanonicalJson(document), 'document'));
  else for (const line of describe(expected, values)) print(line);
}

/** Tools that sign fill the file up first, and what they fill in is measured from then on. */
function remarkUnsigned({ images }: BootDescription): void {
  for (const { role, image } of images) {
    if (image.signatures.length === 0) remark(`${role} is not signed: signing it can change its digest`);
  }
}

/** PCR 11 goes on after the stub: one value for each phase that was named. */
function valuesAfter(expected: ExpectedBoot, phases: readonly (readonly string[])[], bank: TpmHash): Values {
  const { events, registers } = expected;
  return [...registers].map(([pcr, value]) => {
    if (pcr !== PHASE_PCR) return [pcr, [toHex(value)]];
    const reached = phases.map((path) => {
      const after = registerValues([...events, ...expectPhases(path, bank)], bank).get(pcr);
      return toHex(after ?? value);
    });
    return [pcr, [...new Set(reached)]];
  });
}

const PHASE_PCR = 11;

function describe({ events, untold }: ExpectedBoot, values: Values): readonly string[] {
  const known = values.flatMap(([pcr, texts]) => [
    ...texts.map((value) => `PCR ${pcr}  ${value}`),
    ...events
      .filter((event) => event.pcr === pcr)
      .map(({ digest, what }) => `  ${toHex(digest).slice(0, 16)}…  ${what}`),
  ]);
  return [...known, ...untold.map(({ pcr, why }) => `PCR ${pcr}  not computed: ${why}`)];
}

interface Derived {
  readonly boot: BootDescription;
  readonly expected: ExpectedBoot;
  readonly values: Values;
  readonly artefacts: readonly Artefact[];
}

/** The reference document (ER-22). Its form is checked by the reader of such documents before anybody gets it. */
function referenceDocument(
  name: string,
  { boot, expected, values, artefacts }: Derived,
  options: TpmOptions,
): JsonValue {
  const document = {
    version: 2,
    class: 'tpm',
    name,
    bank: options.bank,
    pcrs: Object.fromEntries(values.map(([pcr, texts]) => [String(pcr), texts])),
    boot: bootMember(boot, expected, tpmHash(BANKS[options.bank], '--bank')),
    provenance: {
      method: 'derived',
      tool: packageDocument.name,
      toolVersion: packageDocument.version,
      artefacts: artefacts.map(({ role, sha256 }) => ({ role, sha256 })),
      parameters: { ...describeOptions(options), phases: options.phase.join(' ') },
      madeAt: systemClock.posixSeconds(),
    },
  };
  readReferenceValues(document);
  return document;
}

/** Into these a boot loader and the stub of a kernel measure what they read. */
const LOADER_PCRS: ReadonlySet<number> = new Set([8, 9, 12]);

/** What the boot starts and reads, by digest, for policies that judge the log in place of registers. */
function bootMember({ uki }: BootDescription, { events }: ExpectedBoot, bank: TpmHash): JsonValue {
  const digests = (isWanted: (event: ExpectedEvent) => boolean): readonly string[] => [
    ...new Set(events.filter(isWanted).map(({ digest }) => toHex(digest))),
  ];
  const sections = (uki?.measured ?? []).map(({ name: section, content }) => ({
    section,
    digest: toHex(bank.digest(content)),
  }));
  return {
    images: digests(({ kind }) => kind === 'image'),
    loader: { digests: digests(({ pcr }) => LOADER_PCRS.has(pcr)), texts: [] },
    uki: sections,
    mok: [],
    files: {},
    agentPrograms: [],
  };
}

function profileArgument(text: string): number {
  if (/^(?:0|[1-9][0-9]?)$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a number from 0 to 99.');
}

const repeated = (flags: string, description: string): Option =>
  new Option(flags, `${description}; several times`).argParser(collect).default([], 'none');

export function registerTpm(reference: Command): void {
  const command = reference
    .command('tpm')
    .description('compute the registers of a boot from the files that it starts')
    .addOption(
      new Option('--bank <name>', 'digests of the registers').choices(Object.keys(BANKS)).default('sha256'),
    );
  addImageOptions(command);
  addFirmwareOptions(command);
  addKernelOptions(command);
  command
    .option('--name <name>', 'name of the reference values', identifierArgument)
    .option('--json', 'print the reference document instead of the registers')
    .option('--out <file>', 'new file for the reference document')
    .action(async (options: TpmOptions) => {
      await deriveReference({ ...options, phase: options.phase.length === 0 ? ['ready'] : options.phase });
    });
}

function addImageOptions(command: Command): void {
  command
    .option('--uki <file>', 'unified kernel image')
    .option('--profile <number>', 'profile of the image that is started', profileArgument, 0)
    .addOption(repeated('--phase <name>', 'phase of the boot at which PCR 11 is read (default: ready)'))
    .option('--kernel <file>', 'kernel that the boot loader has the firmware start, without --uki')
    .option('--boot-loader <file>', 'boot loader that starts it, for example systemd-boot or GRUB')
    .option('--shim <file>', 'shim that the firmware starts first')
    .option('--no-inner-kernel', 'the stub starts its kernel without the firmware');
}

function addFirmwareOptions(command: Command): void {
  command
    .option(
      '--secure-boot-variables <dir>',
      'SecureBoot, PK, KEK, db and dbx, as efivarfs names them or bare',
    )
    .addOption(
      new Option(
        '--authority <name=file>',
        'what allowed an image, in order: db=CERTIFICATE, SbatLevel=FILE, MokListTrusted=FILE, Shim=FILE; several times',
      )
        .argParser(collectFiles)
        .default([], 'none'),
    )
    .option('--disk <file>', 'disk or image that is started from, for its partition table')
    .addOption(
      new Option('--block-bytes <number>', 'size of its blocks').argParser(blockArgument).default(512),
    )
    .option('--loader-configuration <file>', 'loader.conf, where systemd-boot measures it')
    .option('--no-boot-action', 'the firmware does not say that it tries a boot option')
    .option('--no-exit-actions', 'the firmware does not say that boot services end');
}

function blockArgument(text: string): 512 | 4096 {
  if (text === '512') return 512;
  if (text === '4096') return 4096;
  throw new InvalidArgumentError('It must be 512 or 4096.');
}

function addKernelOptions(command: Command): void {
  command
    .addOption(
      repeated('--command-line <text>', 'command line from outside the image, as often as it is measured'),
    )
    .option('--kernel-options <text>', 'options that the kernel is started with, where it measures them')
    .addOption(
      new Option('--options-form <name>', 'who hands them over')
        .choices(['grub', 'systemd'])
        .default('systemd'),
    )
    .option('--initrd <file>', 'initrd as the kernel is handed it, all parts together')
    .option('--grub-lines <file>', 'lines of GRUB in the boot event log for PCR 8')
    .addOption(repeated('--grub-file <file>', 'file that GRUB reads, in order'));
}
