/**
 * Under which identifiers NVIDIA's service keeps manifests. An identifier is not signed: it only finds a file, and what was
 * found is judged by what it says (appraise.ts). It is made of signed fields alone, so that a report cannot ask for another.
 */

import { excerpt } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';

export const rimIdentifierRefusals = defineRefusals('malformed', {
  'rim-identifier': {
    means: 'A field of a report cannot be a part of the identifier of a manifest.',
    hint: 'NVIDIA’s identifiers have capital letters, digits and full stops; the report was not made by a known driver.',
  },
});

const PART = /^[A-Za-z0-9][A-Za-z0-9.]{0,31}$/;

/** Fields of a GPU's report. */
export interface DriverRimFields {
  /** For example `GH100`, `GB100`. */
  readonly chip: string;
  readonly driverVersion: string;
}

export interface VbiosRimFields {
  readonly project: string;
  readonly projectSku: string;
  readonly chipSku: string;
  /** With full stops, as in `96.00.9F.00.01`. */
  readonly vbiosVersion: string;
}

/** The identifier of the driver's manifest. @throws RefusalError `rim-identifier` */
export function driverRimId({ chip, driverVersion }: DriverRimFields): string {
  const parts = [part(chip, 'chip'), part(driverVersion, 'driverVersion')];
  return [chip === 'GH100' ? 'NV_GPU_DRIVER' : 'NV_GPU_CC_DRIVER', ...parts].join('_');
}

/** The identifier of the VBIOS's manifest. @throws RefusalError `rim-identifier` */
export function vbiosRimId({ project, projectSku, chipSku, vbiosVersion }: VbiosRimFields): string {
  const parts = [part(project, 'project'), part(projectSku, 'projectSku'), part(chipSku, 'chipSku')];
  return ['NV_GPU_VBIOS', ...parts, withoutStops(vbiosVersion)].join('_');
}

/** The identifier of the manifest of an LS10 switch: there is one board only. @throws RefusalError `rim-identifier` */
export function switchRimId({ vbiosVersion }: Pick<VbiosRimFields, 'vbiosVersion'>): string {
  return ['NV_SWITCH_BIOS_5612_0002_890', withoutStops(vbiosVersion)].join('_');
}

function withoutStops(version: string): string {
  return part(version, 'vbiosVersion').replaceAll('.', '');
}

function part(text: string, field: string): string {
  if (PART.test(text)) return text.toUpperCase();
  throw rimIdentifierRefusals.error('rim-identifier', {
    field,
    expected: 'letters, digits and full stops',
    found: excerpt(text),
  });
}
