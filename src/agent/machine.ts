/** The devices of this machine that can say what it is, opened for one exchange with the server. */

import { toHex } from '../../attestation/core/bytes.ts';
import { hasSevGuest } from '../../native/sev-guest/open.ts';
import type { DeviceAttester } from './evidence.ts';
import { NvidiaMachine } from './nvidia-gpu/machine.ts';
import type { NvidiaAddresses } from './nvidia-gpu/systems.ts';
import { SevSnpAttester } from './sev-snp/attester.ts';
import { TpmAttester, type TpmAttesterOptions } from './tpm/attester.ts';

/** Device classes that an agent can be told to use. Switches belong to the GPUs that they connect. */
export const ATTESTED_CLASSES = ['tpm', 'sev-snp', 'nvidia-gpu'] as const;
export type AttestedClass = (typeof ATTESTED_CLASSES)[number];

export interface MachineOptions {
  /** Which devices to use; by default what is found: the firmware of an SEV-SNP guest, else the TPM. */
  readonly devices?: readonly AttestedClass[];
  readonly tpm: { readonly address: string } & TpmAttesterOptions;
  /** `auto` or an address of docs/spec/sev-snp-agent.md, section 1. */
  readonly sevSnp: { readonly address: string };
  /** Addresses of docs/spec/nvidia-gpu-agent.md, section 1; by default the GPUs of the driver, and no switches. */
  readonly nvidia?: NvidiaAddresses;
}

const ORDINARY_ADDRESS = 'auto';
const ORDINARY_NVIDIA: NvidiaAddresses = { gpus: ORDINARY_ADDRESS, switches: 'none' };

export interface OpenMachine {
  readonly attesters: readonly DeviceAttester[];
  /** The TPM, which has to be enrolled; undefined when it is not used. */
  readonly tpm: TpmAttester | undefined;
  /** What an operator should know, for example that the host gave no certificates. */
  readonly remarks: readonly string[];
  close(): Promise<void>;
}

const NO_CERTIFICATE =
  'the host gave no certificate of the key that signs reports; the server has to fetch it from AMD';

/** @throws RefusalError `tpm-*`, `sev-guest-*`, `snp-*`, `nvml-*`, `nscq-*`, `gpu-*`; nothing stays open then */
export async function openMachine(options: MachineOptions): Promise<OpenMachine> {
  const devices = options.devices ?? (await findDevices(options));
  await using undo = new AsyncDisposableStack();
  const attesters: DeviceAttester[] = [];
  const remarks: string[] = [];
  let tpm: TpmAttester | undefined;
  if (devices.includes('sev-snp')) {
    const guest = await SevSnpAttester.open(options.sevSnp.address);
    if (!guest.hasCertificate) remarks.push(NO_CERTIFICATE);
    attesters.push(guest);
  }
  const gpus = addressesOfGpus(options);
  if (gpus !== undefined) {
    const nvidia = await NvidiaMachine.open(gpus);
    undo.defer(() => nvidia.close());
    attesters.push(...nvidia.attesters);
  }
  if (devices.includes('tpm')) {
    const opened = await TpmAttester.open(options.tpm.address, options.tpm);
    undo.defer(() => opened.close());
    attesters.push(opened);
    tpm = opened;
  }
  const opened = undo.move();
  return { attesters, tpm, remarks, close: () => opened.disposeAsync() };
}

/** Whether {@link openMachine} would use the TPM. */
export async function usesTpm(options: MachineOptions): Promise<boolean> {
  return (options.devices ?? (await findDevices(options))).includes('tpm');
}

/** An address that somebody wrote says that the device is wanted. */
async function findDevices(options: MachineOptions): Promise<readonly AttestedClass[]> {
  const isGuest = options.sevSnp.address !== ORDINARY_ADDRESS || (await hasSevGuest());
  const first = isGuest ? 'sev-snp' : 'tpm';
  return addressesOfGpus(options) === undefined ? [first] : [first, 'nvidia-gpu'];
}

/** Where the GPUs are that this agent uses; undefined where it uses none. They are not looked for: see NA-17. */
export function addressesOfGpus({ devices, nvidia }: MachineOptions): NvidiaAddresses | undefined {
  const addresses = nvidia ?? ORDINARY_NVIDIA;
  const isWanted = devices?.includes('nvidia-gpu') ?? addresses.gpus !== ORDINARY_ADDRESS;
  return isWanted ? addresses : undefined;
}

/** How an accreditation names a device that is not enrolled. */
export function machineName({ deviceClass, identity }: DeviceAttester): string {
  return `${deviceClass}:${toHex(identity)}`;
}
