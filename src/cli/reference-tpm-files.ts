/** The parts of a boot from the files that it is made of (docs/spec/tpm-reference.md, section 4). */

import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';

import { excerpt, fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import type { UefiVariable } from '../../attestation/tpm/event-log/uefi-variable.ts';
import type { BootDescription } from '../../attestation/tpm/reference/boot.ts';
import type { StartedImage } from '../../attestation/tpm/reference/firmware.ts';
import type { OptionsForm } from '../../attestation/tpm/reference/kernel-options.ts';
import { MAX_TABLE_BYTES, partitionTableEvent } from '../../attestation/tpm/reference/partition-table.ts';
import { readPeImage, type PeImage } from '../../attestation/tpm/reference/pe.ts';
import {
  databaseAuthority,
  efivarfsContent,
  SECURE_BOOT_VARIABLES,
  SHIM_AUTHORITIES,
  shimAuthority,
  type SecureBootVariables,
} from '../../attestation/tpm/reference/secure-boot.ts';
import { readUki, type Uki } from '../../attestation/tpm/reference/uki.ts';
import { fileRefusals, readFileBounded, readFileStart } from '../platform/files.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Pair } from './arguments.ts';
import { usageRefusals } from './failure.ts';

/** What people say of a boot: files by their path. */
export interface BootOptions {
  readonly shim?: string;
  readonly bootLoader?: string;
  readonly uki?: string;
  readonly kernel?: string;
  readonly profile: number;
  readonly secureBootVariables?: string;
  readonly authority: readonly Pair[];
  readonly disk?: string;
  readonly blockBytes: 512 | 4096;
  readonly loaderConfiguration?: string;
  readonly commandLine: readonly string[];
  readonly kernelOptions?: string;
  readonly optionsForm: OptionsForm;
  readonly initrd?: string;
  readonly grubLines?: string;
  readonly grubFile: readonly string[];
  readonly bootAction: boolean;
  readonly exitActions: boolean;
  readonly innerKernel: boolean;
}

export interface Artefact {
  readonly role: string;
  readonly sha256: string;
}

/** More than any image or initrd that is started. */
const MAX_IMAGE_BYTES = 2 * 1024 ** 3;
const MAX_SMALL_BYTES = 4 * 1024 * 1024;

/** Reads each file once, so that what is measured is what is named. */
class Files {
  readonly artefacts: Artefact[] = [];

  async read(role: string, path: string, maxBytes: number): Promise<Uint8Array> {
    return this.name(role, await readFileBounded(path, maxBytes));
  }

  async readOptional(role: string, path: string | undefined, maxBytes: number): Promise<Uint8Array | null> {
    return path === undefined ? null : await this.read(role, path, maxBytes);
  }

  name(role: string, bytes: Uint8Array): Uint8Array {
    this.artefacts.push({ role, sha256: createHash('sha256').update(bytes).digest('hex') });
    return bytes;
  }
}

/**
 * @returns the boot and every file that it was read from
 * @throws RefusalError `argument-invalid`, `pe-*`, `uki-*`, `secure-boot-*`, `partition-table`, `layout-*`, `file-*`
 */
export async function readBoot(
  options: BootOptions,
): Promise<{ readonly boot: BootDescription; readonly artefacts: readonly Artefact[] }> {
  checkTogether(options);
  const files = new Files();
  const { images, uki } = await readImages(options, files);
  const initrd = await files.readOptional('initrd', options.initrd, MAX_IMAGE_BYTES);
  const grubLines = await files.readOptional('grub-lines', options.grubLines, MAX_SMALL_BYTES);
  const loaderConfiguration = await files.readOptional(
    'loader-configuration',
    options.loaderConfiguration,
    MAX_SMALL_BYTES,
  );
  const boot: BootDescription = {
    habits: { announcesBootOption: options.bootAction, announcesExit: options.exitActions },
    images,
    uki,
    secureBoot: await readSecureBootFiles(options, files),
    partitionTable: await readPartitionTable(options, files),
    loaderConfiguration,
    commandLines: options.commandLine,
    kernelOptions:
      options.kernelOptions === undefined ? null : { text: options.kernelOptions, form: options.optionsForm },
    initrd,
    grubLines: grubLines === null ? null : linesOf(grubLines),
    grubFiles: await readGrubFiles(options.grubFile, files),
  };
  return { boot, artefacts: files.artefacts };
}

/** Checks what arguments say together, before any file is opened (CL-5). */
function checkTogether({
  shim,
  bootLoader,
  uki,
  kernel,
  authority,
  secureBootVariables,
  ...rest
}: BootOptions): void {
  if (shim === undefined && bootLoader === undefined && uki === undefined && kernel === undefined) {
    refuseArgument('--uki', 'an image that is started: --uki, --kernel, --boot-loader or --shim', 'none');
  }
  if (uki !== undefined && kernel !== undefined) refuseArgument('--kernel', 'none beside --uki', kernel);
  if (authority.length > 0 && secureBootVariables === undefined) {
    refuseArgument('--authority', 'with --secure-boot-variables', 'without');
  }
  if (rest.loaderConfiguration !== undefined && rest.disk === undefined) {
    refuseArgument('--loader-configuration', 'with --disk, which PCR 5 needs too', 'without');
  }
  if (rest.profile > 0 && uki === undefined) refuseArgument('--profile', 'with --uki', 'without');
  const known = ['db', ...SHIM_AUTHORITIES];
  const strange = authority.find(({ name }) => !known.includes(name));
  if (strange !== undefined)
    refuseArgument('--authority', `one of ${known.join(', ')}`, excerpt(strange.name));
}

function refuseArgument(field: string, expected: string, found: string): never {
  throw usageRefusals.error('argument-invalid', { field, expected, found });
}

async function readImages(
  options: BootOptions,
  files: Files,
): Promise<{ readonly images: readonly StartedImage[]; readonly uki: Uki | null }> {
  const images: StartedImage[] = [];
  const start = async (role: string, path: string | undefined): Promise<PeImage | undefined> => {
    if (path === undefined) return undefined;
    const image = readPeImage(await files.read(role, path, MAX_IMAGE_BYTES), role);
    images.push({ role, image });
    return image;
  };
  await start('shim', options.shim);
  await start('boot-loader', options.bootLoader);
  await start('kernel', options.kernel);
  const unified = await start('uki', options.uki);
  const uki = unified === undefined ? null : readUki(unified, options.profile, 'uki');
  if (uki !== null && options.innerKernel) {
    images.push({ role: 'kernel of the uki', image: readPeImage(uki.kernel, 'uki.linux') });
  }
  return { images, uki };
}

async function readSecureBootFiles(
  { secureBootVariables: folder, authority }: BootOptions,
  files: Files,
): Promise<BootDescription['secureBoot']> {
  if (folder === undefined) return null;
  const contents: [string, Uint8Array][] = [];
  for (const { name, vendor } of SECURE_BOOT_VARIABLES) {
    contents.push([name, files.name(name, await readVariable(folder, name, vendor))]);
  }
  const variables = Object.fromEntries(contents) as unknown as SecureBootVariables;
  const authorities: UefiVariable[] = [];
  for (const { name, value } of authority) {
    const content = await files.read(`authority-${name}`, value, MAX_SMALL_BYTES);
    const shimName = SHIM_AUTHORITIES.find((known) => known === name);
    authorities.push(
      shimName === undefined ? databaseAuthority(variables.db, content) : shimAuthority(shimName, content),
    );
  }
  return { variables, authorities };
}

/** As efivarfs names it, or by its bare name and content. */
async function readVariable(folder: string, name: string, vendor: string): Promise<Uint8Array> {
  try {
    return efivarfsContent(await readFileBounded(join(folder, `${name}-${vendor}`), MAX_SMALL_BYTES), name);
  } catch (error) {
    if (!isRefusal(error) || error.refusal.code !== ABSENT) throw error;
    return await readFileBounded(join(folder, name), MAX_SMALL_BYTES);
  }
}

const ABSENT: keyof typeof fileRefusals.codes = 'file-not-found';

async function readPartitionTable(
  { disk, blockBytes }: BootOptions,
  files: Files,
): Promise<Uint8Array | null> {
  if (disk === undefined) return null;
  const event = partitionTableEvent(await readFileStart(disk, MAX_TABLE_BYTES), blockBytes);
  return files.name('partition-table', event);
}

function linesOf(bytes: Uint8Array): readonly string[] {
  const text = fromUtf8(bytes, '--grub-lines');
  return (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
}

async function readGrubFiles(paths: readonly string[], files: Files): Promise<BootDescription['grubFiles']> {
  const read: { name: string; content: Uint8Array }[] = [];
  for (const path of paths) {
    const name = basename(path);
    read.push({ name, content: await files.read('grub-file', path, MAX_IMAGE_BYTES) });
  }
  return read;
}

/** What of the options decided the values beside the files; texts by their digest, as they may be long. */
export function describeOptions(options: BootOptions): Readonly<Record<string, string>> {
  const digest = (text: string): string => toHex(createHash('sha256').update(text).digest());
  const { commandLine, kernelOptions, profile, bootAction, exitActions, innerKernel } = options;
  return {
    bootAction: String(bootAction),
    exitActions: String(exitActions),
    ...(options.uki === undefined ? {} : { innerKernel: String(innerKernel), profile: String(profile) }),
    ...(commandLine.length === 0 ? {} : { commandLinesSha256: digest(commandLine.join('\n')) }),
    ...(kernelOptions === undefined ? {} : { kernelOptionsSha256: digest(kernelOptions) }),
  };
}
