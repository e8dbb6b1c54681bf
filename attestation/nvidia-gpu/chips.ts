/**
 * The chips whose evidence is understood, by the family name in their certificates. An allow-list: a chip that is not here
 * is refused, because its rules are not known (docs/spec/nvidia-gpu.md, section 4).
 */

import type { ReportKind } from './spdm.ts';

/** How a leaf certificate says which firmware its key stands for. */
export type FirmwareIdForm = 'composite-device-id' | 'tcb-info';

export interface ChipFamily {
  /** In the common names of the device's certificates. */
  readonly name: string;
  readonly kind: ReportKind;
  /** As evidence of NVIDIA's tools labels it. The label is never signed. */
  readonly architecture: 'HOPPER' | 'BLACKWELL' | 'LS10';
  /** The processor on the chip whose key signs: GSP of a GPU, FSP of a switch. A GPU's FSP signs other things. */
  readonly engine: 'GSP' | 'FSP';
  /** First byte of the boot ROM certificate's serial number; the device's PDI follows. */
  readonly serialPrefix: number;
  readonly firmwareIdForm: FirmwareIdForm;
  /** Its members, as CHIP_INFO names them. */
  readonly chips: readonly string[];
  /** Which one it is where a report has no CHIP_INFO; undefined where that would be a guess. */
  readonly unstatedChip: string | undefined;
}

export const CHIP_FAMILIES: readonly ChipFamily[] = [
  {
    name: 'GH100',
    kind: 'gpu',
    architecture: 'HOPPER',
    engine: 'GSP',
    serialPrefix: 0x41,
    firmwareIdForm: 'composite-device-id',
    chips: ['GH100'],
    unstatedChip: 'GH100',
  },
  {
    name: 'GB100',
    kind: 'gpu',
    architecture: 'BLACKWELL',
    engine: 'GSP',
    serialPrefix: 0x41,
    firmwareIdForm: 'tcb-info',
    chips: ['GB100'],
    unstatedChip: 'GB100',
  },
  {
    name: 'GB20X',
    kind: 'gpu',
    architecture: 'BLACKWELL',
    engine: 'GSP',
    serialPrefix: 0x41,
    firmwareIdForm: 'tcb-info',
    chips: ['GB202'],
    unstatedChip: undefined,
  },
  {
    name: 'LS_10',
    kind: 'switch',
    architecture: 'LS10',
    engine: 'FSP',
    serialPrefix: 0x50,
    firmwareIdForm: 'composite-device-id',
    chips: ['LS10'],
    unstatedChip: 'LS10',
  },
];

/** Chips by their names in RIMs, policies and claims. */
export const GPU_CHIPS = ['GH100', 'GB100', 'GB202'] as const;
export const SWITCH_CHIPS = ['LS10'] as const;
