/** The launch measurement of an SEV-SNP guest, from the files that it is started with (docs/spec/sev-snp-launch.md). */

import { createHash } from 'node:crypto';

import packageDocument from '../../package.json' with { type: 'json' };
import { toHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readReferenceValues } from '../../attestation/sev-snp/documents.ts';
import { hypervisorOf, type Hypervisor } from '../../attestation/sev-snp/launch/hypervisor.ts';
import {
  hashCommandLine,
  NO_INITRD,
  type KernelHashes,
} from '../../attestation/sev-snp/launch/kernel-hashes.ts';
import {
  measureFirmware,
  measureLaunch,
  vcpuStateOf,
  type LaunchParameters,
} from '../../attestation/sev-snp/launch/measure.ts';
import { MAX_IMAGE_BYTES, readOvmf } from '../../attestation/sev-snp/launch/ovmf.ts';
import { vcpuSignature } from '../../attestation/sev-snp/launch/vcpu-model.ts';
import { readFileBounded } from '../platform/files.ts';
import { usageRefusals } from './failure.ts';

/** More than any kernel or initrd that is loaded below 4 GiB. */
const MAX_FILE_BYTES = 1024 ** 3;

/** What people say of a launch: files by their path, and what stands beside them on the command line of QEMU. */
export interface LaunchOptions {
  readonly ovmf: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly hypervisor: string;
  readonly vcpus: number;
  readonly vcpuType?: string;
  readonly vcpuSignature?: number;
  readonly guestFeatures: bigint;
}

/** A measurement and everything that it was derived from. */
export interface DerivedLaunch {
  readonly measurement: Uint8Array;
  readonly artefacts: readonly { readonly role: string; readonly sha256: string }[];
  readonly parameters: Readonly<Record<string, string>>;
}

function refuseArgument(field: string, expected: string, found: string): never {
  throw usageRefusals.error('argument-invalid', { field, expected, found });
}

/** Checks what arguments say together, before any file is opened (CL-5). */
function readParameters(options: LaunchOptions): LaunchParameters {
  const { kernel, initrd, append, vcpus, guestFeatures } = options;
  if (kernel === undefined && (initrd !== undefined || append !== undefined)) {
    refuseArgument('--kernel', 'a kernel to go with --initrd and --append', 'none');
  }
  const hypervisor = hypervisorOf(options.hypervisor);
  if (kernel !== undefined && !hypervisor.bootsKernels) {
    refuseArgument('--kernel', `none with ${hypervisor.name}, which boots from a disk`, kernel);
  }
  const parameters = { hypervisor, vcpus, vcpuSignature: readSignature(options, hypervisor), guestFeatures };
  vcpuStateOf(parameters);
  return parameters;
}

/** Only some hypervisors tell a vCPU its model at the start. */
function readSignature(options: LaunchOptions, { name, registers }: Hypervisor): number | null {
  const { vcpuType, vcpuSignature: given } = options;
  if (vcpuType !== undefined && given !== undefined) {
    refuseArgument('--vcpu-signature', 'none beside --vcpu-type', 'both');
  }
  const signature = given ?? (vcpuType === undefined ? null : vcpuSignature(vcpuType));
  if (registers.rdx !== null && signature !== null) {
    refuseArgument('--vcpu-type', `none with ${name}, where it does not count`, 'one');
  }
  if (registers.rdx === null && signature === null) {
    refuseArgument('--vcpu-type', 'the vCPU model that stands after -cpu, or --vcpu-signature', 'none');
  }
  return signature;
}

function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}

async function readKernel(
  { kernel, initrd }: LaunchOptions,
  commandLine: Uint8Array,
): Promise<KernelHashes | null> {
  if (kernel === undefined) return null;
  return {
    kernel: sha256(await readFileBounded(kernel, MAX_FILE_BYTES)),
    initrd: initrd === undefined ? NO_INITRD : sha256(await readFileBounded(initrd, MAX_FILE_BYTES)),
    commandLine,
  };
}

function listArtefacts(
  firmware: Uint8Array,
  kernel: KernelHashes | null,
  hasInitrd: boolean,
): DerivedLaunch['artefacts'] {
  const artefacts = [{ role: 'firmware', sha256: toHex(firmware) }];
  if (kernel === null) return artefacts;
  artefacts.push({ role: 'kernel', sha256: toHex(kernel.kernel) });
  if (hasInitrd) artefacts.push({ role: 'initrd', sha256: toHex(kernel.initrd) });
  artefacts.push({ role: 'cmdline', sha256: toHex(kernel.commandLine) });
  return artefacts;
}

function describeParameters(options: LaunchOptions, signature: number | null): Record<string, string> {
  return {
    hypervisor: options.hypervisor,
    vcpus: String(options.vcpus),
    ...(options.vcpuType === undefined ? {} : { vcpuType: options.vcpuType }),
    ...(signature === null ? {} : { vcpuSignature: signature.toString(16).padStart(8, '0') }),
    guestFeatures: options.guestFeatures.toString(16).padStart(16, '0'),
  };
}

/**
 * Derives the measurement. Each file is read once, so that what is measured is what is named (LM-18).
 *
 * @throws RefusalError `argument-invalid`, `launch-*`, `ovmf-*`, `layout-*`, `file-*`
 */
export async function deriveLaunch(options: LaunchOptions): Promise<DerivedLaunch> {
  const parameters = readParameters(options);
  const commandLine = hashCommandLine(options.append ?? '');
  const image = await readFileBounded(options.ovmf, MAX_IMAGE_BYTES);
  const firmware = measureFirmware(readOvmf(image, options.ovmf));
  const kernel = await readKernel(options, commandLine);
  return {
    measurement: measureLaunch({ ...parameters, firmware, kernel }),
    artefacts: listArtefacts(sha256(image), kernel, options.initrd !== undefined),
    parameters: describeParameters(options, parameters.vcpuSignature),
  };
}

/** The reference document of a derived measurement (LM-17). @param madeAt POSIX seconds */
export function launchDocument(launch: DerivedLaunch, name: string, madeAt: number): JsonValue {
  const document = {
    version: 1,
    class: 'sev-snp',
    kind: 'launch',
    name,
    measurement: toHex(launch.measurement),
    provenance: {
      method: 'derived',
      tool: packageDocument.name,
      toolVersion: packageDocument.version,
      artefacts: launch.artefacts,
      parameters: launch.parameters,
      madeAt,
    },
  };
  readReferenceValues(document);
  return document;
}
