/**
 * A whole boot from its parts: which registers follow from what was given, and which do not and why
 * (docs/spec/tpm-reference.md, section 4). Nothing is guessed: a register with an unknown part has no value.
 */

import type { UefiVariable } from '../event-log/uefi-variable.ts';
import type { TpmHash } from '../hash.ts';
import { registerValues } from './events.ts';
import type { ExpectedEvent } from './events.ts';
import { expectApplications, expectConfiguration } from './firmware.ts';
import type { FirmwareHabits, StartedImage } from './firmware.ts';
import { expectGrubFiles, expectGrubLines } from './grub.ts';
import type { GrubFile } from './grub.ts';
import { expectUki } from './kernel-boot.ts';
import { expectCommandLines, expectKernelInputs } from './kernel-options.ts';
import type { OptionsForm } from './kernel-options.ts';
import { expectSecureBoot } from './secure-boot.ts';
import type { SecureBootVariables } from './secure-boot.ts';
import type { Uki } from './uki.ts';

/** Null stands for what was not given; an empty list for what is known not to happen. */
export interface BootDescription {
  readonly habits: FirmwareHabits;
  /** In the order in which firmware loads them. */
  readonly images: readonly StartedImage[];
  readonly uki: Uki | null;
  readonly secureBoot: {
    readonly variables: SecureBootVariables;
    readonly authorities: readonly UefiVariable[];
  } | null;
  /** The event of the disk. */
  readonly partitionTable: Uint8Array | null;
  readonly loaderConfiguration: Uint8Array | null;
  /** From outside a unified kernel image, as often as they are measured. */
  readonly commandLines: readonly string[];
  readonly kernelOptions: { readonly text: string; readonly form: OptionsForm } | null;
  /** As it is handed to the kernel, all parts together. */
  readonly initrd: Uint8Array | null;
  readonly grubLines: readonly string[] | null;
  readonly grubFiles: readonly GrubFile[];
}

/** A register that no value could be computed for. */
export interface UntoldRegister {
  readonly pcr: number;
  readonly why: string;
}

export interface ExpectedBoot {
  readonly events: readonly ExpectedEvent[];
  /** Values by register, in ascending order; of PCR 11 before any phase. */
  readonly registers: ReadonlyMap<number, Uint8Array>;
  readonly untold: readonly UntoldRegister[];
}

const FIRMWARE_REASONS: readonly UntoldRegister[] = [
  { pcr: 0, why: 'the code of the firmware: record it from a machine that is known to be good' },
  { pcr: 1, why: 'the configuration of the firmware, which differs from machine to machine' },
  { pcr: 2, why: 'code of option ROMs and drivers: record it from a machine that is known to be good' },
  { pcr: 3, why: 'the configuration of option ROMs and drivers' },
  { pcr: 6, why: 'what the maker of the machine measures' },
];

/** Registers that stay zero where a unified kernel image is started with nothing beside it. */
const BESIDE_UKI = [12, 13] as const;

interface Part {
  readonly pcr: number;
  /** Null where something that it depends on was not given. */
  readonly events: readonly ExpectedEvent[] | null;
  readonly why: string;
}

/** @throws RefusalError `secure-boot-*`, `grub-line`, `event-log-variable`, `layout-*` */
export function expectBoot(boot: BootDescription, bank: TpmHash): ExpectedBoot {
  const parts = [...firmwareParts(boot, bank), ...loaderParts(boot, bank), ...kernelParts(boot, bank)];
  const known = parts.filter((part) => part.events !== null);
  const events = known.flatMap((part) => part.events ?? []);
  const extended = registerValues(events, bank);
  const registers = known.map(({ pcr }) => [pcr, extended.get(pcr) ?? new Uint8Array(bank.bytes)] as const);
  const untold = parts.flatMap(({ pcr, events: given, why }) => (given === null ? [{ pcr, why }] : []));
  return {
    events,
    registers: new Map(registers.toSorted(([left], [right]) => left - right)),
    untold: [...FIRMWARE_REASONS, ...untold].toSorted((left, right) => left.pcr - right.pcr),
  };
}

function firmwareParts(boot: BootDescription, bank: TpmHash): readonly Part[] {
  const { habits, images, partitionTable, loaderConfiguration, secureBoot } = boot;
  return [
    {
      pcr: 4,
      events: images.length === 0 ? null : expectApplications(images, habits, bank),
      why: 'no image that the firmware starts was given',
    },
    {
      pcr: 5,
      events:
        partitionTable === null
          ? null
          : expectConfiguration(partitionTable, loaderConfiguration, habits, bank),
      why: 'the disk with its partition table was not given',
    },
    {
      pcr: 7,
      events:
        secureBoot === null ? null : expectSecureBoot(secureBoot.variables, secureBoot.authorities, bank),
      why: 'the variables of Secure Boot were not given',
    },
  ];
}

function loaderParts(
  { grubLines, grubFiles, kernelOptions, initrd }: BootDescription,
  bank: TpmHash,
): readonly Part[] {
  const handedOver = expectKernelInputs(
    kernelOptions?.text ?? null,
    kernelOptions?.form ?? 'systemd',
    initrd,
    bank,
  );
  const files = [...expectGrubFiles(grubFiles, bank), ...handedOver];
  return [
    {
      pcr: 8,
      events: grubLines === null ? null : expectGrubLines(grubLines, bank),
      why: 'the commands of GRUB were not given',
    },
    {
      pcr: 9,
      events: files.length === 0 ? null : files,
      why: 'neither what the kernel is handed nor the files that GRUB reads were given',
    },
  ];
}

function kernelParts({ uki, commandLines }: BootDescription, bank: TpmHash): readonly Part[] {
  const lines = expectCommandLines(commandLines, bank);
  const sections = uki === null ? null : expectUki(uki, bank);
  const isKnown = uki !== null || lines.length > 0;
  const [commandLinePcr, extensionsPcr] = BESIDE_UKI;
  return [
    { pcr: 11, events: sections, why: 'no unified kernel image was given' },
    {
      pcr: commandLinePcr,
      events: isKnown ? lines : null,
      why: 'neither a unified kernel image nor a command line was given',
    },
    { pcr: extensionsPcr, events: uki === null ? null : [], why: 'no unified kernel image was given' },
  ];
}
