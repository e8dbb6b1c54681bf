/** The devices of this machine that can say what it is, opened for one exchange with the server. */

import { toHex } from '../../attestation/core/bytes.ts';
import { hasSevGuest } from '../../native/sev-guest/open.ts';
import type { DeviceAttester } from './evidence.ts';
import { SevSnpAttester } from './sev-snp/attester.ts';
import { TpmAttester, type TpmAttesterOptions } from './tpm/attester.ts';

/** Device classes that an agent can collect evidence of. */
export const ATTESTED_CLASSES = ['tpm', 'sev-snp'] as const;
export type AttestedClass = (typeof ATTESTED_CLASSES)[number];

export interface MachineOptions {
  /** Which devices to use; by default what is found: the firmware of an SEV-SNP guest, else the TPM. */
  readonly devices?: readonly AttestedClass[];
  readonly tpm: { readonly address: string } & TpmAttesterOptions;
  /** `auto` or an address of docs/spec/sev-snp-agent.md, section 1. */
  readonly sevSnp: { readonly address: string };
}

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

/** @throws RefusalError `tpm-*`, `sev-guest-*`, `snp-*`; nothing stays open then */
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
  if (devices.includes('tpm')) {
    const opened = await TpmAttester.open(options.tpm.address, options.tpm);
    undo.defer(() => opened.close());
    attesters.push(opened);
    tpm = opened;
  }
  const opened = undo.move();
  return { attesters, tpm, remarks, close: () => opened.disposeAsync() };
}

/** An address that somebody wrote says that the device is wanted. */
async function findDevices({ sevSnp }: MachineOptions): Promise<readonly AttestedClass[]> {
  return sevSnp.address !== 'auto' || (await hasSevGuest()) ? ['sev-snp'] : ['tpm'];
}

/** How an accreditation names a device that is not enrolled. */
export function machineName({ deviceClass, identity }: DeviceAttester): string {
  return `${deviceClass}:${toHex(identity)}`;
}
