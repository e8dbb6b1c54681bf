/** What a machine of the demonstration has to offer, of whichever device class it is. */

import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { DeviceAttester } from '../../agent/evidence.ts';

/** The devices of a machine as the agent's own library opens them. */
export interface OpenDevices {
  readonly attesters: readonly DeviceAttester[];
  close(): Promise<void>;
}

/** A machine of one device. */
export async function alone(
  opening: Promise<DeviceAttester & { close(): Promise<void> }>,
): Promise<OpenDevices> {
  const device = await opening;
  return { attesters: [device], close: () => device.close() };
}

/** A state of the machine in which it must not get the key. */
export interface BadState {
  /** For whoever watches, for example `another kernel booted`. */
  readonly what: string;
  /** Brings it about. @returns the options of agent commands in this state */
  enter(): Promise<readonly string[]>;
}

export interface DemoDevice extends AsyncDisposable {
  /** For whoever watches. */
  readonly kind: string;
  /** Options by which agent commands find the devices. */
  readonly options: readonly string[];
  /** What an agent that runs a model is told besides. @param home of the server */
  runOptions(home: string): readonly string[];
  /** File with the settings of the release policy for machines of this kind. */
  readonly settings: string;
  /** What is verified before such a machine gets a key. */
  readonly checks: string;
  /** Makes a server accept this simulated hardware. @param home of the server */
  install(home: string): Promise<void>;
  /** Commands of this program that come before the server starts. @param home of the server */
  preparations(home: string): readonly (readonly string[])[];
  /** Commands that record what a good machine measures. @param folder for their files */
  references(folder: string): {
    readonly commands: readonly (readonly string[])[];
    readonly documents: readonly { readonly name: string; readonly file: string }[];
  };
  open(): Promise<OpenDevices>;
  /** A device's part of the evidence, for one device of the machine with one bit of what was signed changed. */
  forge(evidence: JsonValue, deviceClass: string): JsonValue;
  readonly badStates: readonly BadState[];
  /** Ends a bad state. */
  restore(): Promise<void>;
}
