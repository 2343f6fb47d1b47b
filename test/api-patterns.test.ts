import { describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'

/** Documents as people keep them in their folders, Istio's and Kubernetes' own. */
const DOCUMENTS: Record<string, string> = {
  '1-circuit-breaker.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: httpbin-circuit-breaker
spec:
  host: httpbin
  trafficPolicy:
    connectionPool:
      tcp:
        maxConnections: 1
      http:
        http1MaxPendingRequests: 1
        maxRequestsPerConnection: 1
    outlierDetection:
      consecutive5xxErrors: 1
      interval: 1s
      baseEjectionTime: 3m
      maxEjectionPercent: 100
`,
  '2-canary-destination-rule.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: reviews-destination
spec:
  host: reviews
  subsets:
    - name: v1
      labels:
        version: v1
    - name: v2
      labels:
        version: v2
`,
  '2-canary-virtual-service.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
    - reviews
  http:
    - route:
        - destination:
            host: reviews
            subset: v1
          weight: 90
        - destination:
            host: reviews
            subset: v2
          weight: 10
`,
  '3-blue-green-destination-rule.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: app-destination
spec:
  host: myapp
  subsets:
    - name: blue
      labels:
        version: blue
    - name: green
      labels:
        version: green
`,
  '3-blue-green-virtual-service.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
    - myapp
  http:
    - route:
        - destination:
            host: myapp
            subset: blue
          weight: 100
`,
  '4-mirror.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: httpbin
spec:
  hosts:
    - httpbin
  http:
    - route:
        - destination:
            host: httpbin
            subset: v1
    - mirror:
        host: httpbin
        subset: v2
`,
  '6-retry-timeout.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: myapp
spec:
  hosts:
    - myapp
  http:
    - route:
        - destination:
            host: myapp
            subset: v1
  timeout: 5s
  retries:
    attempts: 3
    perTryTimeout: 2s
    retryOn: gateway-error,connect-failure,refused-stream
`,
  '7-fault-delay.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: ratings-fault-delay
spec:
  hosts:
    - ratings
  http:
    - fault:
        delay:
          fixedDelay: 5s
          percentage:
            value: 100
      route:
        - destination:
            host: ratings
            subset: v1
`,
  '8-authorization.yaml': `
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata:
  name: allow-sleep-to-httpbin
  namespace: default
spec:
  selector:
    matchLabels:
      app: httpbin
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/default/sa/sleep"]
`,
  '8-mtls-strict.yaml': `
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-system
spec:
  mtls:
    mode: STRICT
`,
  '9-local-rate-limit.yaml': `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata:
  name: httpbin-ratelimit
  namespace: istio-system
spec:
  workloadSelector:
    labels:
      app: httpbin
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_INBOUND
        listener:
          filterChain:
            filter:
              name: "envoy.filters.network.http_connection_manager"
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
            stat_prefix: http_local_rate_limiter
            token_bucket:
              max_tokens: 10
              tokens_per_fill: 10
              fill_interval: 60s
`,
  'configmap-my-configmap.yaml': `
apiVersion: v1
kind: ConfigMap
metadata:
  name: my-configmap
data:
  config.json: |
    { "key": "value" }
  myscript.sh: |
    #!/bin/sh
    echo "hello, world"
binaryData:
  logo.png: <base64-encoded-contents>
`,
  'daemonset-node-monitor.yaml': `
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: node-monitor
spec:
  selector:
    matchLabels:
      name: node-monitor
  template:
    metadata:
      labels:
        name: node-monitor
    spec:
      containers:
        - name: monitor
          image: datadog/agent
      nodeSelector:
        monitoring: enabled
`,
  'deployment-nginx.yaml': `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx
spec:
  replicas: 3
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
        - name: nginx
          image: nginx:1.21
`,
  'deployment-prometheus.yaml': `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: prometheus
  namespace: monitoring
spec:
  replicas: 1
  ...
`,
  'ingress-my-ingress.yaml': `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: my-ingress
spec:
  rules:
    - host: myapp.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: my-service
                port:
                  number: 80
`,
  'job-pi-job.yaml': `
apiVersion: batch/v1
kind: Job
metadata:
  name: pi-job
spec:
  template:
    spec:
      containers:
        - name: pi
          image: perl
          command: ["perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"]
      restartPolicy: Never
  backoffLimit: 4
`,
  'persistentvolume-pv1.yaml': `
apiVersion: v1
kind: PersistentVolume
metadata:
  name: pv1
spec:
  capacity:
    storage: 10Gi
  volumeMode: Filesystem
  accessModes:
    - ReadWriteOnce
  persistentVolumeReclaimPolicy: Retain
  storageClassName: manual
  hostPath:
    path: "/mnt/data"
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: pvc1
spec:
  accessModes:
    - ReadWriteOnce
  storageClassName: manual
  resources:
    requests:
      storage: 3Gi
`,
  'pod-app-pod.yaml': `
apiVersion: v1
kind: Pod
metadata:
  name: app-pod
spec:
  containers:
    - name: app-container
      image: myapp:latest
      env:
        - name: SECRET_VALUE
          valueFrom:
            secretKeyRef:
              name: my-secret
              key: string-value
      volumeMounts:
        - name: secret-volume
          mountPath: /etc/secret
          readOnly: true
  volumes:
    - name: secret-volume
      secret:
        secretName: my-secret
`,
  'pod-app-with-ambassador.yaml': `
apiVersion: v1
kind: Pod
metadata:
  name: app-with-ambassador
spec:
  containers:
    - name: app
      image: my-app
    - name: ambassador
      image: envoy
      args: [...] # Configure Envoy to forward requests
`,
  'pod-critical-service.yaml': `
apiVersion: v1
kind: Pod
metadata:
  name: critical-service
spec:
  priorityClassName: high-priority
  ...
`,
  'pod-ml-task.yaml': `
apiVersion: v1
kind: Pod
metadata:
  name: ml-task
  labels:
    app: ml-worker
spec:
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
          - matchExpressions:
              - key: hardware
                operator: In
                values: ["gpu"]
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - labelSelector:
            matchExpressions:
              - key: app
                operator: In
                values: ["ml-worker"]
          topologyKey: "kubernetes.io/hostname"
  tolerations:
    - key: "special"
      operator: "Equal"
      value: "gpu"
      effect: "NoSchedule"
  containers:
    - name: worker
      image: my-gpu-image
      resources:
        requests:
          cpu: 2
          memory: 8Gi
`,
  'priorityclass-high-priority.yaml': `
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata:
  name: high-priority
value: 1000000
globalDefault: false
description: "Used for critical services"
`,
  'replicaset-frontend.yaml': `
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: frontend
spec:
  replicas: 3
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: nginx
          image: nginx
`,
  'secret-db-credentials.yaml': `
apiVersion: v1
kind: Secret
metadata:
  name: db-credentials
type: Opaque
data:
  username: bXl1c2Vy # base64 for "myuser"
  password: bXlwYXNzd29yZA== # base64 for "mypassword"
`,
  'service-lb-service.yaml': `
apiVersion: v1
kind: Service
metadata:
  name: lb-service
spec:
  type: LoadBalancer
  selector:
    app: my-app
  ports:
    - protocol: TCP
      port: 80
      targetPort: 80
`,
  'service-my-database.yaml': `
apiVersion: v1
kind: Service
metadata:
  name: my-database
spec:
  type: ExternalName
  externalName: db.example.com
`,
  'service-my-service.yaml': `
apiVersion: v1
kind: Service
metadata:
  name: my-service
spec:
  selector:
    app: my-app
  ports:
    - protocol: TCP
      port: 80
      targetPort: 9376
  type: ClusterIP
`,
  'service-np-service.yaml': `
apiVersion: v1
kind: Service
metadata:
  name: np-service
spec:
  type: NodePort
  selector:
    app: my-app
  ports:
    - port: 80
      targetPort: 80
      nodePort: 30007
`,
  'statefulset-web.yaml': `
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: web
spec:
  serviceName: "nginx"
  replicas: 3
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
        - name: nginx
          image: nginx:latest
          volumeMounts:
            - name: www
              mountPath: /usr/share/nginx/html
  volumeClaimTemplates:
    - metadata:
        name: www
      spec:
        accessModes: ["ReadWriteOnce"]
        storageClassName: "fast-ssd"
        resources:
          requests:
            storage: 5Gi
`,
  'storageclass-fast-ssd.yaml': `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: fast-ssd
provisioner: kubernetes.io/aws-ebs
parameters:
  type: gp3
  iopsPerGB: "50"
  encrypted: "true"
reclaimPolicy: Delete
allowVolumeExpansion: true
volumeBindingMode: WaitForFirstConsumer
`,
}

const loaded = (name: string) => loadText(name, DOCUMENTS[name]!.slice(1))

describe('everything loads', () => {
  it.each(Object.keys(DOCUMENTS))('%s', (name) => {
    const { objects, others, problems } = loaded(name)
    expect(problems.filter(({ severity }) => severity === 'error')).toEqual([])
    expect(objects.length + others.length).toBe(DOCUMENTS[name]!.split('\n---\n').length)
  })
})

describe('and means what was meant', () => {
  it('a circuit breaker', () => {
    const connectionPool = {
      tcp: { maxConnections: 1 },
      http: { http1MaxPendingRequests: 1, maxRequestsPerConnection: 1 },
    }
    const outlierDetection = {
      consecutive5xxErrors: 1,
      interval: '1s',
      baseEjectionTime: '3m',
      maxEjectionPercent: 100,
    }
    expect(loaded('1-circuit-breaker.yaml').objects[0]).toMatchObject({
      spec: { host: 'httpbin', trafficPolicy: { connectionPool, outlierDetection } },
    })
  })

  it('a canary', () => {
    expect(loaded('2-canary-virtual-service.yaml').objects[0]).toMatchObject({
      spec: {
        http: [
          {
            route: [
              { destination: { subset: 'v1' }, weight: 90 },
              { destination: { subset: 'v2' }, weight: 10 },
            ],
          },
        ],
      },
    })
  })

  it('a mirror beside the route', () => {
    expect(loaded('4-mirror.yaml').objects[0]).toMatchObject({
      spec: {
        http: [
          { route: [{ destination: { host: 'httpbin', subset: 'v1' } }], mirror: { host: 'httpbin', subset: 'v2' } },
        ],
      },
    })
  })

  it('retries and a timeout', () => {
    expect(loaded('6-retry-timeout.yaml').objects[0]).toMatchObject({
      spec: { http: [{ timeout: '5s', retries: { attempts: 3, perTryTimeout: '2s' } }] },
    })
  })

  it('placeholders stay what they are', () => {
    expect(loaded('pod-app-with-ambassador.yaml').objects[0]).toMatchObject({
      spec: { containers: [{ name: 'app' }, { name: 'ambassador', args: ['...'] }] },
    })
    expect(loaded('deployment-prometheus.yaml').others[0]).toMatchObject({
      kind: 'Deployment',
      body: { spec: { replicas: 1 } },
    })
  })

  it('services of every type', () => {
    const spec = (name: string) => loaded(name).objects[0]
    expect(spec('service-my-database.yaml')).toMatchObject({
      spec: { type: 'ExternalName', externalName: 'db.example.com' },
    })
    expect(spec('service-my-service.yaml')).toMatchObject({
      spec: { type: 'ClusterIP', ports: [{ port: 80, targetPort: 9376, protocol: 'TCP' }] },
    })
    expect(spec('service-np-service.yaml')).toMatchObject({ spec: { type: 'NodePort', ports: [{ nodePort: 30007 }] } })
  })
})
