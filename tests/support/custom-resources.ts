/** The kinds that others define, as far as the chart uses them, strictly: from the types in their sources. */
import { z } from 'zod';

const labels = z.record(z.string(), z.string().max(63));
const metadata = z.strictObject({
  name: z.string().regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/),
  namespace: z.string(),
  labels,
});
const port = z.number().int().min(1).max(65_535);
const count = z.number().int().positive();
const duration = z.string().regex(/^(\d+(ms|s|m|h))+$/);

/** kubernetes-sigs/gateway-api-inference-extension, api/v1. */
const inferencePool = z.strictObject({
  apiVersion: z.literal('inference.networking.k8s.io/v1'),
  kind: z.literal('InferencePool'),
  metadata,
  spec: z.strictObject({
    selector: z.strictObject({ matchLabels: labels.refine((map) => Object.keys(map).length > 0) }),
    targetPorts: z.array(z.strictObject({ number: port })).length(1),
    endpointPickerRef: z.strictObject({
      group: z.string().max(253).optional(),
      kind: z.string().min(1).max(63).optional(),
      name: z.string().min(1).max(253),
      // Required where kind is Service, which it is by default.
      port: z.strictObject({ number: port }),
      failureMode: z.enum(['FailOpen', 'FailClose']).optional(),
    }),
  }),
});

/** kedacore/keda, apis/keda/v1alpha1, with the settings of its Prometheus scaler, which are texts. */
const scaledObject = z.strictObject({
  apiVersion: z.literal('keda.sh/v1alpha1'),
  kind: z.literal('ScaledObject'),
  metadata,
  spec: z.strictObject({
    scaleTargetRef: z.strictObject({
      apiVersion: z.string().optional(),
      kind: z.string().optional(),
      name: z.string().min(1),
    }),
    pollingInterval: count.optional(),
    cooldownPeriod: count.optional(),
    minReplicaCount: count,
    maxReplicaCount: count,
    advanced: z.strictObject({
      horizontalPodAutoscalerConfig: z.strictObject({
        behavior: z.strictObject({
          scaleDown: z.strictObject({
            stabilizationWindowSeconds: z.number().int().min(0).max(3_600),
            policies: z.array(
              z.strictObject({
                type: z.enum(['Pods', 'Percent']),
                value: count,
                periodSeconds: count.max(1_800),
              }),
            ),
          }),
        }),
      }),
    }),
    triggers: z
      .array(
        z.strictObject({
          type: z.literal('prometheus'),
          metricType: z.enum(['Value', 'AverageValue']),
          metadata: z.strictObject({
            serverAddress: z.url(),
            query: z.string().min(1),
            threshold: z.string().regex(/^\d+(\.\d+)?$/),
          }),
        }),
      )
      .min(1),
  }),
});

/** prometheus-operator, pkg/apis/monitoring/v1. */
const serviceMonitor = z.strictObject({
  apiVersion: z.literal('monitoring.coreos.com/v1'),
  kind: z.literal('ServiceMonitor'),
  metadata,
  spec: z.strictObject({
    selector: z.strictObject({ matchLabels: labels }),
    endpoints: z
      .array(
        z.strictObject({
          port: z.string(),
          path: z.string().startsWith('/'),
          interval: duration,
          honorLabels: z.boolean().optional(),
          relabelings: z
            .array(z.strictObject({ targetLabel: z.string(), replacement: z.string() }))
            .optional(),
        }),
      )
      .min(1),
  }),
});

export const CUSTOM_RESOURCES: Readonly<Record<string, z.ZodType>> = {
  InferencePool: inferencePool,
  ScaledObject: scaledObject,
  ServiceMonitor: serviceMonitor,
};
