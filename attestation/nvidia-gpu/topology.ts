/**
 * What must hold among the GPUs and switches of one machine (docs/spec/nvidia-gpu.md, section 9): one mode, equal versions,
 * each device once, and in protected-PCIe mode a topology that is closed. The numbers that devices name at their links are
 * compared with those in the certificates, both ways, so that a copy, a stranger and a missing device all show.
 */

import type { DeviceClaims } from '../core/device-class.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { GpuReportClaims, SwitchReportClaims } from './claims.ts';

export const topologyChecks = defineChecks('unacceptable', {
  'gpu-set-repeated': {
    means: 'Two reports are of the same device.',
    hint: 'Send the report of each device once.',
    protects: 'One good GPU could stand for several.',
  },
  'gpu-set-versions': {
    means: 'The GPUs, or the switches, of one machine have different chips, drivers or firmware.',
    hint: 'Bring all devices of the machine to the same versions.',
    protects: 'The weakest device could hide behind the others.',
  },
  'gpu-set-mode': {
    means: 'The GPUs of one machine are not all in one mode, or in one that is for a single GPU.',
    hint: 'Set all GPUs of the guest to the same mode: MPT or PPCIE where there are several.',
    protects: 'One GPU could leave the protection of the others.',
  },
  'gpu-set-switches': {
    means: 'There are no switches where the mode needs them, or there are some where it has none.',
    hint: 'In protected-PCIe mode send the evidence of all switches; in other modes send none.',
    protects: 'Traffic between GPUs would cross switches that nobody examined.',
  },
  'gpu-set-topology': {
    means: 'The devices at the links are not those whose certificates were sent.',
    hint: 'Send the evidence of all GPUs and switches of this machine, and of no other.',
    protects: 'A device of another machine, or a switch in between that nobody attested, could take part.',
  },
});

/**
 * Appraises the set. Of one GPU in a mode for one there is nothing to compare.
 *
 * @param devices claims of all devices of the machine; those of other classes are passed over
 */
export function appraiseTopology(devices: readonly DeviceClaims[], checks: Checklist): void {
  const gpus = devices.filter(isGpu);
  const switches = devices.filter(isSwitch);
  noteDistinct([...gpus, ...switches], checks);
  noteVersions(gpus, switches, checks);
  const modes = [...new Set(gpus.map(({ mode }) => mode))];
  const isSingle = gpus.length > 1 && modes.includes('spt');
  checks.note(topologyChecks, 'gpu-set-mode', modes.length <= 1 && !isSingle, {
    field: 'devices',
    expected: gpus.length > 1 ? 'one mode, for several GPUs' : 'one mode',
    found: `${gpus.length} GPUs in ${modes.join(' and ') || 'none'}`,
  });
  const isProtected = modes.includes('ppcie');
  checks.note(topologyChecks, 'gpu-set-switches', isProtected === switches.length > 0, {
    field: 'devices',
    expected: isProtected ? 'switches' : 'no switch',
    found: `${switches.length} switches`,
  });
  if (isProtected || switches.length > 0) noteClosed(gpus, switches, checks);
}

/** Where there are GPUs their class appraises the whole set. Switches alone are part of nothing. */
export function appraiseSwitches(devices: readonly DeviceClaims[], checks: Checklist): void {
  if (!devices.some(isGpu)) appraiseTopology(devices, checks);
}

function isGpu(claims: DeviceClaims): claims is GpuReportClaims {
  return claims.class === 'nvidia-gpu';
}

function isSwitch(claims: DeviceClaims): claims is SwitchReportClaims {
  return claims.class === 'nvswitch';
}

type Device = GpuReportClaims | SwitchReportClaims;

/** A bundle has each identity once already; the number on NVLink is what topology rests on. */
function noteDistinct(devices: readonly Device[], checks: Checklist): void {
  const repeated = (names: readonly string[]): string | undefined =>
    names.find((name, i) => names.indexOf(name) !== i);
  const found = repeated(devices.map(({ identity }) => identity)) ?? repeated(devices.map(({ pdi }) => pdi));
  checks.note(topologyChecks, 'gpu-set-repeated', found === undefined, {
    field: 'devices',
    expected: 'each identity and PDI once',
    found: found === undefined ? `${devices.length} different ones` : `${found} twice`,
  });
}

function noteVersions(
  gpus: readonly GpuReportClaims[],
  switches: readonly SwitchReportClaims[],
  checks: Checklist,
): void {
  const ofGpus = new Set(
    gpus.map(
      ({ chip, driverVersion, vbiosVersion }) => `${chip}, driver ${driverVersion}, VBIOS ${vbiosVersion}`,
    ),
  );
  const ofSwitches = new Set(switches.map(({ chip, vbiosVersion }) => `${chip}, VBIOS ${vbiosVersion}`));
  checks.note(topologyChecks, 'gpu-set-versions', ofGpus.size <= 1 && ofSwitches.size <= 1, {
    field: 'devices',
    expected: 'the same on all devices of a kind',
    found: [...ofGpus, ...ofSwitches].join('; '),
  });
}

function noteClosed(
  gpus: readonly GpuReportClaims[],
  switches: readonly SwitchReportClaims[],
  checks: Checklist,
): void {
  const certified = { gpus: pdisOf(gpus), switches: pdisOf(switches) };
  for (const { pdi, switchPdis } of gpus) {
    noteLinks(`GPU ${pdi}`, certified.switches, switchPdis, checks);
  }
  for (const { pdi, gpuPdis } of switches) noteLinks(`switch ${pdi}`, certified.gpus, gpuPdis, checks);
}

function pdisOf(devices: readonly Device[]): readonly string[] {
  return [...new Set(devices.map(({ pdi }) => pdi))].toSorted();
}

/** Both lists are sorted and without repetition. */
function noteLinks(
  field: string,
  certified: readonly string[],
  reported: readonly string[],
  checks: Checklist,
): void {
  const holds = certified.length > 0 && certified.join() === reported.join();
  checks.note(topologyChecks, 'gpu-set-topology', holds, {
    field,
    expected: `links to exactly ${certified.join(', ') || 'devices that were sent'}`,
    found: reported.join(', ') || 'none',
  });
}
