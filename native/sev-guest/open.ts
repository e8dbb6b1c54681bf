/** Finds the interface to the firmware of SEV-SNP that a machine has (docs/spec/sev-snp-agent.md, section 1). */

import { stat } from 'node:fs/promises';

import { excerpt } from '../../attestation/core/bytes.ts';
import { ConfigfsSevGuest } from './configfs.ts';
import { DeviceSevGuest } from './device.ts';
import type { SevGuest } from './guest.ts';
import { sevGuestAddressRefusals, sevGuestMachineRefusals } from './refusals.ts';

const CONFIGFS_REPORTS = '/sys/kernel/config/tsm/report';
const DEVICE = '/dev/sev-guest';

/**
 * @param address `auto`, `configfs:PATH` or `device:PATH`
 * @throws RefusalError `sev-guest-address`, `sev-guest-missing`
 */
export async function openSevGuest(address: string): Promise<SevGuest> {
  if (address === 'auto') return await findSevGuest();
  const colon = address.indexOf(':');
  const path = address.slice(colon + 1);
  const kind = address.slice(0, Math.max(colon, 0));
  if (path.startsWith('/')) {
    if (kind === 'configfs') return new ConfigfsSevGuest(path);
    if (kind === 'device') return new DeviceSevGuest(path);
  }
  throw sevGuestAddressRefusals.error('sev-guest-address', {
    field: 'sev-snp',
    expected: 'auto, or configfs: or device: and an absolute path',
    found: excerpt(address),
  });
}

/** The kernel's common interface first: it needs no native call and knows about service modules. */
async function findSevGuest(): Promise<SevGuest> {
  if (await isThere(DEVICE)) {
    return (await isThere(CONFIGFS_REPORTS))
      ? new ConfigfsSevGuest(CONFIGFS_REPORTS)
      : new DeviceSevGuest(DEVICE);
  }
  throw sevGuestMachineRefusals.error('sev-guest-missing', {
    field: DEVICE,
    expected: 'the device of the sev-guest driver',
    found: 'none',
  });
}

/** Whether this machine is an SEV-SNP guest with its driver. */
export async function hasSevGuest(): Promise<boolean> {
  return await isThere(DEVICE);
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
