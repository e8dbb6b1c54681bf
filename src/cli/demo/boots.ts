/** What the machine of the demonstration boots: the measurements of firmware, loader and kernel, and the log of them. */

import { createHash } from 'node:crypto';

import { toUtf8 } from '../../../attestation/core/bytes.ts';
import { EventType } from '../../../attestation/tpm/event-log/event-types.ts';
import { UefiSignatureType } from '../../../attestation/tpm/event-log/uefi-variable.ts';
import {
  digestOfEvent,
  IMAGE_VENDOR,
  separatorEvent,
  signatureListBytes,
  variableEvent,
  type WrittenEvent,
} from '../../agent/simulated/event-log-writer.ts';
import type { BootMeasurements } from '../../agent/simulated/software-tpm.ts';

/** What differs from one boot to the next. */
export interface DemoBoot {
  readonly kernel: string;
  readonly commandLine: string;
}

export const GOOD_BOOT: DemoBoot = { kernel: 'kernel 6.1', commandLine: '/vmlinuz root=/dev/vda1 ro' };
export const OTHER_KERNEL: DemoBoot = { ...GOOD_BOOT, kernel: 'a kernel of somebody else' };
export const OTHER_COMMAND_LINE: DemoBoot = {
  ...GOOD_BOOT,
  commandLine: `${GOOD_BOOT.commandLine} init=/bin/sh`,
};

const digestOf = (content: string): Uint8Array => createHash('sha256').update(toUtf8(content)).digest();

const image = (content: string): WrittenEvent => ({
  pcr: 4,
  type: EventType.efiBootServicesApplication,
  data: toUtf8(content),
  digest: digestOf(`image: ${content}`),
});

const FIRMWARE_REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7];

/** The events in the order in which such a machine makes them; keys and contents are made up. */
export function eventsOf({ kernel, commandLine }: DemoBoot): readonly WrittenEvent[] {
  const keys = signatureListBytes(UefiSignatureType.sha256, [digestOf('a key of the demonstration')]);
  return [
    { pcr: 0, type: EventType.crtmVersion, data: toUtf8('firmware 1.0') },
    {
      pcr: 2,
      type: EventType.efiBootServicesDriver,
      data: toUtf8('option ROM'),
      digest: digestOf('option ROM'),
    },
    variableEvent('SecureBoot', Uint8Array.of(1)),
    variableEvent('PK', keys),
    variableEvent('KEK', keys),
    variableEvent('db', keys, IMAGE_VENDOR),
    variableEvent('dbx', keys, IMAGE_VENDOR),
    ...FIRMWARE_REGISTERS.map((pcr) => separatorEvent(pcr)),
    image('boot loader'),
    image(kernel),
    {
      pcr: 8,
      type: EventType.ipl,
      data: toUtf8(`kernel_cmdline: ${commandLine}\0`),
      digest: digestOf(commandLine),
    },
    { pcr: 9, type: EventType.ipl, data: toUtf8('initrd'), digest: digestOf('initial file system') },
  ];
}

/** What the registers are extended with. */
export function measurementsOf(events: readonly WrittenEvent[]): BootMeasurements {
  const measured: Record<number, readonly Uint8Array[]> = {};
  for (const event of events) {
    measured[event.pcr] = [...(measured[event.pcr] ?? []), digestOfEvent(event)];
  }
  return measured;
}
