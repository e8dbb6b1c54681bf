/**
 * Appraisal of what an authentic paravisor says of its machine (docs/spec/azure-vtpm.md, AZ-15 and AZ-16). The report
 * and the quote are appraised by the rules of their own classes.
 */

import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { AzureVtpmPolicy } from './documents.ts';
import type { VmConfiguration } from './runtime-claims.ts';

export const configurationChecks = defineChecks('unacceptable', {
  'azure-vmpl': {
    means: 'The report was not asked for by the paravisor.',
    hint: 'Send the HCL report of NV index 0x01400001, not a report that the machine asked for itself.',
    protects: 'Software in the machine could put a key of its own in the place of the virtual TPM’s.',
  },
  'azure-tpm': {
    means: 'The machine’s virtual TPM is switched off.',
    hint: 'Create the machine with a virtual TPM.',
    protects: 'Nothing would measure what boots.',
  },
  'azure-secure-boot': {
    means: 'Secure boot is off.',
    hint: 'Create the machine with secure boot, or state allowInsecureBoot in the policy and rely on the PCRs alone.',
    protects: 'Unsigned boot loaders and kernels could start.',
  },
  'azure-console': {
    means: 'The machine has a console that the provider can use.',
    hint: 'Switch the serial console off, or state allowConsole in the policy.',
    protects: 'Whoever reaches the console could give commands to the machine.',
  },
  'azure-devices': {
    means: 'The paravisor lets devices through that it should filter, or does not say that it does not.',
    hint: 'Use a machine size without pass-through devices, or state allowFilteredDevices in the policy.',
    protects: 'A device of the provider could read or write what the machine shares with it.',
  },
});

/** The paravisor runs at the most privileged level; what is above it answers to the machine's user. */
export const PARAVISOR_VMPL = 0;

/** Stops unless the paravisor itself asked for the report. @throws RefusalError `azure-vmpl` */
export function demandParavisor(vmpl: number, checks: Checklist): void {
  checks.demand(configurationChecks, 'azure-vmpl', vmpl === PARAVISOR_VMPL, {
    field: 'report.vmpl',
    expected: String(PARAVISOR_VMPL),
    found: String(vmpl),
  });
}

/** Whether each setting is one that the operator wants. What the paravisor did not say counts as what is worse. */
export function appraiseConfiguration(
  claimed: VmConfiguration,
  policy: AzureVtpmPolicy,
  checks: Checklist,
): void {
  const note = (code: keyof typeof configurationChecks.codes, holds: boolean, facts: Setting): void => {
    const found = facts.found === undefined ? 'not said' : String(facts.found);
    checks.note(configurationChecks, code, holds, {
      field: `claims.vm-configuration.${facts.name}`,
      expected: facts.isOpen ? 'anything' : String(facts.wanted),
      found,
    });
  };
  const { tpmEnabled, secureBoot, consoleEnabled, filteredDevicesAllowed } = claimed;
  note('azure-tpm', tpmEnabled, { name: 'tpm-enabled', wanted: true, isOpen: false, found: tpmEnabled });
  const { allowInsecureBoot, allowConsole, allowFilteredDevices } = policy;
  note('azure-secure-boot', secureBoot || allowInsecureBoot, {
    name: 'secure-boot',
    wanted: true,
    isOpen: allowInsecureBoot,
    found: secureBoot,
  });
  note('azure-console', !consoleEnabled || allowConsole, {
    name: 'console-enabled',
    wanted: false,
    isOpen: allowConsole,
    found: consoleEnabled,
  });
  note('azure-devices', filteredDevicesAllowed === false || allowFilteredDevices, {
    name: 'filtered-vpci-devices-allowed',
    wanted: false,
    isOpen: allowFilteredDevices,
    found: filteredDevicesAllowed,
  });
}

interface Setting {
  readonly name: string;
  readonly wanted: boolean;
  /** Whether the policy leaves it open. */
  readonly isOpen: boolean;
  readonly found: boolean | undefined;
}
