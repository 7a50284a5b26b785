package deploy_test

// The part of each file's schema that the files use. A key that stands in a file and not here is an error: look it up in the reference of its
// tool (Kubernetes API 1.30 or later, Compose specification, Prometheus 3, Grafana 12) before it is added.

// labels, selectors and other free maps.
type names map[string]string

type meta struct {
	Name   string `json:"name"`
	Labels names  `json:"labels"`
}

type selector struct {
	MatchLabels names `json:"matchLabels"`
}

type deployment struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		Replicas *int     `json:"replicas"`
		Selector selector `json:"selector"`
		Strategy struct {
			Type          string `json:"type"`
			RollingUpdate struct {
				MaxUnavailable int `json:"maxUnavailable"`
				MaxSurge       int `json:"maxSurge"`
			} `json:"rollingUpdate"`
		} `json:"strategy"`
		Template struct {
			Metadata meta `json:"metadata"`
			Spec     pod  `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type pod struct {
	AutomountServiceAccountToken  *bool `json:"automountServiceAccountToken"`
	EnableServiceLinks            *bool `json:"enableServiceLinks"`
	TerminationGracePeriodSeconds int   `json:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsNonRoot   *bool `json:"runAsNonRoot"`
		RunAsUser      int   `json:"runAsUser"`
		RunAsGroup     int   `json:"runAsGroup"`
		FSGroup        int   `json:"fsGroup"`
		SeccompProfile struct {
			Type string `json:"type"`
		} `json:"seccompProfile"`
	} `json:"securityContext"`
	TopologySpreadConstraints []struct {
		MaxSkew           int      `json:"maxSkew"`
		TopologyKey       string   `json:"topologyKey"`
		WhenUnsatisfiable string   `json:"whenUnsatisfiable"`
		LabelSelector     selector `json:"labelSelector"`
	} `json:"topologySpreadConstraints"`
	Containers []container `json:"containers"`
	Volumes    []struct {
		Name                  string `json:"name"`
		PersistentVolumeClaim *struct {
			ClaimName string `json:"claimName"`
			ReadOnly  bool   `json:"readOnly"`
		} `json:"persistentVolumeClaim"`
		Secret *struct {
			SecretName  string `json:"secretName"`
			DefaultMode int    `json:"defaultMode"`
		} `json:"secret"`
	} `json:"volumes"`
}

type container struct {
	Name            string   `json:"name"`
	Image           string   `json:"image"`
	ImagePullPolicy string   `json:"imagePullPolicy"`
	Args            []string `json:"args"`
	Ports           []struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
	} `json:"ports"`
	Resources struct {
		Requests names `json:"requests"`
		Limits   names `json:"limits"`
	} `json:"resources"`
	StartupProbe   probe `json:"startupProbe"`
	ReadinessProbe probe `json:"readinessProbe"`
	LivenessProbe  probe `json:"livenessProbe"`
	Lifecycle      struct {
		PreStop struct {
			Sleep struct {
				Seconds int `json:"seconds"`
			} `json:"sleep"`
		} `json:"preStop"`
	} `json:"lifecycle"`
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `json:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   *bool `json:"readOnlyRootFilesystem"`
		Capabilities             struct {
			Drop []string `json:"drop"`
		} `json:"capabilities"`
	} `json:"securityContext"`
	VolumeMounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
	} `json:"volumeMounts"`
}

type probe struct {
	HTTPGet struct {
		Path string `json:"path"`
		Port string `json:"port"`
	} `json:"httpGet"`
	PeriodSeconds    int `json:"periodSeconds"`
	TimeoutSeconds   int `json:"timeoutSeconds"`
	FailureThreshold int `json:"failureThreshold"`
}

type service struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		Type     string `json:"type"`
		Selector names  `json:"selector"`
		Ports    []struct {
			Name       string `json:"name"`
			Port       int    `json:"port"`
			TargetPort string `json:"targetPort"`
			Protocol   string `json:"protocol"`
		} `json:"ports"`
	} `json:"spec"`
}

type secret struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Type       string `json:"type"`
	StringData names  `json:"stringData"`
}

type volumeClaim struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		AccessModes []string `json:"accessModes"`
		Resources   struct {
			Requests names `json:"requests"`
		} `json:"resources"`
	} `json:"spec"`
}

type disruption struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		MinAvailable int      `json:"minAvailable"`
		Selector     selector `json:"selector"`
	} `json:"spec"`
}

type autoscaler struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   meta   `json:"metadata"`
	Spec       struct {
		ScaleTargetRef struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicas int `json:"minReplicas"`
		MaxReplicas int `json:"maxReplicas"`
		Metrics     []struct {
			Type string `json:"type"`
			Pods struct {
				Metric struct {
					Name string `json:"name"`
				} `json:"metric"`
				Target struct {
					Type         string `json:"type"`
					AverageValue string `json:"averageValue"`
				} `json:"target"`
			} `json:"pods"`
		} `json:"metrics"`
		Behavior struct {
			ScaleUp   scaling `json:"scaleUp"`
			ScaleDown scaling `json:"scaleDown"`
		} `json:"behavior"`
	} `json:"spec"`
}

type scaling struct {
	StabilizationWindowSeconds int `json:"stabilizationWindowSeconds"`
	Policies                   []struct {
		Type          string `json:"type"`
		Value         int    `json:"value"`
		PeriodSeconds int    `json:"periodSeconds"`
	} `json:"policies"`
}

type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Resources  []string `json:"resources"`
}

type adapterValues struct {
	Rules struct {
		Custom []struct {
			SeriesQuery string `json:"seriesQuery"`
			Resources   struct {
				Overrides map[string]struct {
					Resource string `json:"resource"`
				} `json:"overrides"`
			} `json:"resources"`
			Name struct {
				Matches string `json:"matches"`
				As      string `json:"as"`
			} `json:"name"`
			MetricsQuery string `json:"metricsQuery"`
		} `json:"custom"`
	} `json:"rules"`
}

type scrape struct {
	JobName       string `json:"job_name"`
	MetricsPath   string `json:"metrics_path"`
	Authorization struct {
		Type            string `json:"type"`
		CredentialsFile string `json:"credentials_file"`
	} `json:"authorization"`
	StaticConfigs []struct {
		Targets []string `json:"targets"`
	} `json:"static_configs"`
	KubernetesSDConfigs []struct {
		Role string `json:"role"`
	} `json:"kubernetes_sd_configs"`
	RelabelConfigs []relabel `json:"relabel_configs"`
}

type relabel struct {
	SourceLabels []string `json:"source_labels"`
	Regex        string   `json:"regex"`
	Action       string   `json:"action"`
	TargetLabel  string   `json:"target_label"`
}

type prometheus struct {
	Global struct {
		ScrapeInterval string `json:"scrape_interval"`
	} `json:"global"`
	ScrapeConfigs []scrape `json:"scrape_configs"`
}

type compose struct {
	Name     string `json:"name"`
	Services map[string]struct {
		Build *struct {
			Context    string `json:"context"`
			Dockerfile string `json:"dockerfile"`
		} `json:"build"`
		Image           string   `json:"image"`
		Command         []string `json:"command"`
		Environment     names    `json:"environment"`
		Ports           []string `json:"ports"`
		Volumes         []string `json:"volumes"`
		Secrets         []string `json:"secrets"`
		DependsOn       []string `json:"depends_on"`
		ReadOnly        bool     `json:"read_only"`
		CapDrop         []string `json:"cap_drop"`
		SecurityOpt     []string `json:"security_opt"`
		StopGracePeriod string   `json:"stop_grace_period"`
		Restart         string   `json:"restart"`
	} `json:"services"`
	Secrets map[string]struct {
		File string `json:"file"`
	} `json:"secrets"`
	Volumes map[string]struct{} `json:"volumes"`
}

type datasources struct {
	APIVersion  int `json:"apiVersion"`
	Datasources []struct {
		Name      string `json:"name"`
		UID       string `json:"uid"`
		Type      string `json:"type"`
		Access    string `json:"access"`
		URL       string `json:"url"`
		IsDefault bool   `json:"isDefault"`
		JSONData  names  `json:"jsonData"`
	} `json:"datasources"`
}

type dashboards struct {
	APIVersion int `json:"apiVersion"`
	Providers  []struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Options names  `json:"options"`
	} `json:"providers"`
}
