/** A machine of the demonstration with a simulated processor of AMD, whose host starts a good guest or a bad one. */

import { createHash, X509Certificate } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { fromBase64, toBase64, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { AttestationReport } from '../../../attestation/sev-snp/layout.ts';
import { SevSnpAttester } from '../../agent/sev-snp/attester.ts';
import { SimulatedAmd } from '../../agent/simulated/sev-snp-authority.ts';
import {
  manufactureSimulatedGuest,
  SimulatedSevGuest,
  type SimulatedMachine,
} from '../../agent/simulated/sev-snp-guest.ts';
import { systemClock } from '../../platform/clock.ts';
import { alone, type BadState, type DemoDevice, type OpenDevices } from './device.ts';

const POLICIES = join(import.meta.dirname, '..', '..', '..', 'policies');
const MINIMUM_SET = 'amd-2026-02';
const LINE = 'Genoa';
/** In a report: one byte of the launch measurement. */
const MEASUREMENT_OFFSET = 0x90;

/** Stands in for the launch measurement of an image. */
function measurementOf(image: string): Uint8Array {
  return createHash('sha384').update(toUtf8(image)).digest();
}

const GOOD_IMAGE = measurementOf('the image that the owner approved');
/** Firmware of before the newest bulletins, with the certificate that AMD gives for it. */
const OLD_FIRMWARE = { fmc: undefined, bootLoader: 9, tee: 0, snp: 0x16, microcode: 0x4d };

export class SevSnpDemoMachine implements DemoDevice {
  readonly kind = 'an SEV-SNP guest';
  readonly settings = join(POLICIES, 'release', 'settings-sev-snp.yaml');
  readonly checks =
    'chain to the root, revocation list, report signature, chip, firmware levels, guest policy, measurement, nonce, log proof';
  readonly badStates: readonly BadState[];
  private readonly folder: string;
  private readonly amd: SimulatedAmd;

  private constructor(folder: string, amd: SimulatedAmd, { chipId, policy }: AttestationReport) {
    this.folder = folder;
    this.amd = amd;
    this.badStates = [
      this.guest('the guest was started with debugging allowed', 'debug', {
        chipId,
        report: { measurement: GOOD_IMAGE, policy: { ...policy, debug: true } },
      }),
      this.guest('another image was started', 'other-image', {
        chipId,
        report: { measurement: measurementOf('an image of somebody else') },
      }),
      this.guest('the host went back to old firmware', 'old-firmware', {
        chipId,
        tcb: OLD_FIRMWARE,
        report: { measurement: GOOD_IMAGE },
      }),
      this.guest('the same image on a chip of somebody else', 'other-chip', {
        report: { measurement: GOOD_IMAGE },
      }),
    ];
  }

  /** @param folder new; holds the hierarchy of keys and one folder for each guest */
  static async switchOn(folder: string): Promise<SevSnpDemoMachine> {
    const amd = await SimulatedAmd.create(LINE, systemClock.posixSeconds());
    const good = join(folder, 'good');
    await manufactureSimulatedGuest(good, amd, { report: { measurement: GOOD_IMAGE } });
    const { template } = await SimulatedSevGuest.open(good);
    return new SevSnpDemoMachine(folder, amd, template);
  }

  get options(): readonly string[] {
    return this.optionsFor('good');
  }

  /** Of the good guest. */
  get address(): string {
    return `simulated:${join(this.folder, 'good')}`;
  }

  runOptions(): readonly string[] {
    return [];
  }

  /** The root as a folder of anchors has it, and what AMD's service would give for the line. */
  async install(home: string): Promise<void> {
    const anchors = join(home, 'anchors', 'simulated', 'sev-snp');
    await mkdir(anchors, { recursive: true });
    await writeFile(this.rootPath(home), pem(this.amd.root));
    await writeFile(this.chainPath, pem(this.amd.intermediate('vcek')) + pem(this.amd.root));
    await writeFile(this.listPath, this.amd.revocationList());
  }

  preparations(home: string): readonly (readonly string[])[] {
    const command = [
      ...['collateral', 'import', this.chainPath, this.listPath, '--dir', join(home, 'collateral')],
      ...['--simulated-root', this.rootPath(home)],
    ];
    return [command];
  }

  references(folder: string): ReturnType<DemoDevice['references']> {
    const file = join(folder, 'reference.json');
    const name = 'good-image';
    const command = [
      ...['reference', 'record-guest', '--sev-snp', this.address, '--name', name],
      ...['--source', 'the machine of the demonstration', '--out', file],
    ];
    const minimum = join(POLICIES, 'reference-values', 'sev-snp', `${MINIMUM_SET}.json`);
    const documents = [
      { name, file },
      { name: MINIMUM_SET, file: minimum },
    ];
    return { commands: [command], documents };
  }

  open(): Promise<OpenDevices> {
    return alone(SevSnpAttester.open(this.address));
  }

  forge(evidence: JsonValue): JsonValue {
    const members = evidence as { readonly report: string };
    const report = fromBase64(members.report, 'report').slice();
    report[MEASUREMENT_OFFSET] = (report[MEASUREMENT_OFFSET] ?? 0) ^ 1;
    return { ...members, report: toBase64(report) };
  }

  /** The good guest runs on beside the bad ones. */
  restore(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  private get chainPath(): string {
    return join(this.folder, 'chain.pem');
  }

  private get listPath(): string {
    return join(this.folder, 'list.crl');
  }

  private rootPath(home: string): string {
    return join(home, 'anchors', 'simulated', 'sev-snp', 'simulated-amd.pem');
  }

  private optionsFor(name: string): readonly string[] {
    return ['--device', 'sev-snp', '--sev-snp', `simulated:${join(this.folder, name)}`];
  }

  private guest(what: string, name: string, machine: SimulatedMachine): BadState {
    const enter = async (): Promise<readonly string[]> => {
      await manufactureSimulatedGuest(join(this.folder, name), this.amd, machine);
      return this.optionsFor(name);
    };
    return { what, enter };
  }
}

function pem(certificate: Uint8Array): string {
  return new X509Certificate(certificate).toString();
}
